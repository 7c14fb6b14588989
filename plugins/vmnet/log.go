package main

import (
	"io"
	"os"
	"time"

	"github.com/sirupsen/logrus"
)

// A verbLog writes one line for a verb: to logFile where the configuration has
// one, else to stderr and only when the verb failed. Runtimes show stderr when
// they cannot read stdout, and drop it on success.
type verbLog struct {
	command string
	start   time.Time
	stderr  io.Writer
	logger  *logrus.Logger
	file    *os.File // nil: none
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
	if conf.LogFile == "" {
		return nil
	}
	f, err := os.OpenFile(conf.LogFile, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return badValue("logFile", conf.LogFile, "a file that can be written: %v", err)
	}
	l.file = f
	l.logger.SetOutput(f)
	return nil
}

// set adds a field to the line; empty values are left out.
func (l *verbLog) set(key string, value any) {
	if value != "" {
		l.fields[key] = value
	}
}

// note writes a line of its own, at level info, to the file only.
func (l *verbLog) note(format string, args ...any) {
	if l.file != nil {
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
	case l.file != nil:
		entry.Info(l.command)
	}
	if l.file != nil {
		_ = l.file.Close() // the line is written or not; there is nobody left to tell
	}
}
