// Command bench runs ours beside what a user would pick instead, on the same work
// in one run and in turns, with the kernel and the bare hop as the limit. It prints
// tables with ratios and goals, writes JSON and draws plots; make bench calls it,
// docs/performance.md says what the figures mean. What the machine cannot run is
// said at the end, with the reason.
//
// Its parts are nat (guests behind an address translator), qemu (real guests on
// QEMU's own network backends and on ours), relay (driver vmnet's),
// verbs (the plugin's), stages (what the relay's stages cost) and tap (driver tap's).
package main
