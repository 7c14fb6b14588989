// Package ownns runs the tests of a package in network and mount namespaces that
// are made for them, so that nothing of the machine's is touched, whatever fails.
package ownns
