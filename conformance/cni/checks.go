package cni

import "slices"

// A Level says how binding a requirement is, and who makes it.
type Level string

// Levels.
const (
	Must    Level = "M" // "must", "required" in the specification
	Should  Level = "S" // "should" in the specification
	Library Level = "L" // libcni, skel or runtimes depend on it
	Robust  Level = "R" // what runtimes do to plugins in real life
)

// A Grade is how strictly a plugin is judged.
type Grade string

// Grades. A failure of a check of grade Compat counts in both, one of a check of
// grade Spec only when the grade asked for is Spec.
const (
	// Spec is the letter of the specification, and what real runtimes need.
	Spec Grade = "spec"
	// Compat leaves out what a plugin built on the CNI project's own library
	// (cni/pkg/skel) cannot reach.
	Compat Grade = "compat"
)

// SpecVersion is the version of the specification that the checks stand on, and
// that the list of IDs belongs to.
const SpecVersion = "1.1.0"

// A Check is one requirement.
type Check struct {
	// ID is a letter for the group and two digits. IDs are never reused.
	ID    string
	Level Level
	// Grade is the laxest grade in which a failure counts.
	Grade Grade
	// Sentence is the requirement, in the words of Source.
	Sentence string
	Source   string

	needs need
	do    func(*probe)
}

// need says what a check cannot do without.
type need uint

const (
	needADD      need = 1 << iota // an isolation domain, for an ADD that succeeds
	needCHECK                     // a version from 0.4.0
	needSTATUS                    // a version from 1.1.0, which has STATUS and GC too
	needDelegate                  // a plugin that delegates to an IPAM plugin
	needAnIface                   // a plugin that makes an interface, or changes one
	needChain                     // a plugin that may stand in a list
)

// Checks returns all checks in the order in which they are made.
func Checks() []Check {
	return slices.Concat(envChecks(), stdinChecks(), stdoutChecks(), versionChecks(), addChecks(), delChecks(),
		checkChecks(), statusChecks(), gcChecks(), ipamChecks(), capsChecks(), chainChecks())
}

// Counts reports whether a failure of c counts in grade g.
func (c *Check) Counts(g Grade) bool { return g == Spec || c.Grade == Compat }
