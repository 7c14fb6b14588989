// Package vmnettest holds the contract of package vmnet as a test suite, and
// in-memory implementations for tests of what is built on it.
//
// [TestDriver] checks every promise that [vmnet.Driver], [vmnet.Network],
// [vmnet.Device] and [vmnet.Interface] make, one subtest each; a case that fails
// prints the rule that was broken. Every driver of this module runs it.
//
// [Pair] is two devices joined back to back, and [Hub] is a driver whose
// networks are switches in memory. Both keep the whole contract, allocate nothing
// per frame, and have bounded queues.
package vmnettest
