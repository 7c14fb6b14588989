// Package docs reads this project's Markdown pages for tests: their fenced blocks,
// links, headings and words in code.
//
// The tests run every command that a page shows, in a sandbox, and compare what it
// prints; what cannot run stands in a table with the reason (see unrun in the
// tests). They fail on a dead link, on a configuration that the plugin refuses, and
// on keys, flags, make targets, tests, metrics and events that do not exist.
//
// # How to write a page
//
// Commands stand in blocks marked sh, which run as one script, or console, where a
// line after "$ " or "# " is a command and the lines below are what it prints, with …
// for what differs. A line with … alone is any number of lines.
package docs
