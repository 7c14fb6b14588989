package main

import (
	"io"
	"os"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
)

// toSyslog is the value of logFile for the system's log.
const toSyslog = "syslog"

// A verbLog writes one line for a verb: to logFile where the configuration has
// one, else to stderr and only when the verb failed. Runtimes show stderr when
// they cannot read stdout, and drop it on success.
type verbLog struct {
	command string
	start   time.Time
	stderr  io.Writer
	logger  *logrus.Logger
	out     io.Closer // the file, or the system's log; nil: none
	fields  logrus.Fields
}

func newVerbLog(command string, stderr io.Writer) *verbLog {
	l := logrus.New()
	l.SetOutput(stderr)
	l.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true, TimestampFormat: time.RFC3339Nano})
	return &verbLog{command: command, start: time.Now(), stderr: stderr, logger: l, fields: logrus.Fields{}}
}

// open moves the log to the configuration's file. When that cannot be opened
// the log stays at stderr.
func (l *verbLog) open(conf *config, e env) error {
	l.set("network", conf.Name)
	l.set("containerID", e.ContainerID)
	l.set("ifname", e.IfName)
	l.logger.SetLevel(conf.LogLevel)
	switch conf.LogFile {
	case "":
		return nil
	case toSyslog:
		w, err := dialSyslog()
		if err != nil {
			return badValue("logFile", conf.LogFile, "a system log that takes messages: %v", err)
		}
		l.toSystem(w)
		return nil
	}
	// Non-blocking: a FIFO without a reader is an error, and no reason to wait.
	f, err := os.OpenFile(conf.LogFile, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		return badValue("logFile", conf.LogFile, "a file that can be written: %v", err)
	}
	l.out = f
	l.logger.SetOutput(f)
	return nil
}

// toSystem moves the log to the system's, which adds the time by itself.
func (l *verbLog) toSystem(w systemLog) {
	l.out = w
	l.logger.SetOutput(io.Discard)
	l.logger.SetFormatter(&logrus.TextFormatter{DisableColors: true, DisableTimestamp: true})
	l.logger.AddHook(systemHook{w})
}

// A systemLog is what log/syslog's Writer is.
type systemLog interface {
	io.Closer
	Err(line string) error
	Warning(line string) error
	Info(line string) error
	Debug(line string) error
}

// A systemHook gives the system's log each line with its level.
type systemHook struct{ w systemLog }

// Levels implements logrus.Hook.
func (systemHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (h systemHook) Fire(e *logrus.Entry) error {
	line, err := e.String()
	if err != nil {
		return err
	}
	switch {
	case e.Level <= logrus.ErrorLevel:
		return h.w.Err(line)
	case e.Level == logrus.WarnLevel:
		return h.w.Warning(line)
	case e.Level == logrus.InfoLevel:
		return h.w.Info(line)
	}
	return h.w.Debug(line)
}

// set adds a field to the line; empty values are left out.
func (l *verbLog) set(key string, value any) {
	if value != "" {
		l.fields[key] = value
	}
}

// note writes a line of its own, at level info, to the file or the system's log only.
func (l *verbLog) note(format string, args ...any) {
	if l.out != nil {
		l.logger.WithFields(l.fields).Infof(l.command+": "+format, args...)
	}
}

// end writes the line and closes the file.
func (l *verbLog) end(err error) {
	entry := l.logger.WithFields(l.fields).WithField("took", time.Since(l.start).Round(time.Microsecond))
	switch {
	case err != nil:
		ce := asCNIError(err)
		entry = entry.WithField("code", ce.Code)
		if ce.Details != "" {
			entry = entry.WithField("details", ce.Details)
		}
		entry.Errorf("%s: %s", l.command, ce.Msg)
	case l.out != nil:
		entry.Info(l.command)
	}
	if l.out != nil {
		_ = l.out.Close() // the line is written or not; there is nobody left to tell
	}
}
