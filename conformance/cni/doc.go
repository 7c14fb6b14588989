// Package cni judges CNI plugins: it executes a plugin binary as runtimes do and
// says, requirement by requirement, whether it keeps the specification.
//
// Every check has an ID, the sentence that it stands on and where that is
// written, and ends as pass, fail (with what was seen) or skip (with the proof
// that it cannot be judged here). Nothing is known about the plugin but its
// binary and one configuration that is good for it:
//
//	report, err := cni.Judge(ctx, cni.Target{Plugin: "/opt/cni/bin/bridge", Config: conf, Domain: cni.DomainNetNS})
//
// or, as a Go test with a subtest for each check,
//
//	func TestConformance(t *testing.T) { cni.Run(t, cni.Target{…}) }
//
// or the command cni-conformance. README.md tells how to use them.
//
// The files: target.go says what is judged, judge.go goes through the checks,
// session.go, probe.go and attachment.go are what the checks are written with,
// exec.go and runtime.go execute the plugin raw and through libcni, leaks.go
// counts what is left behind, domain.go makes isolation domains, and each group
// of checks has a file of its own (env.go E, stdin.go I, stdout.go O, version.go
// V, add.go A, del.go D, check.go C, status.go T, gc.go G, ipam.go J, caps.go K,
// chain.go L).
package cni
