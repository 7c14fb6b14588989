// Package shim is what the shim's clients and its server share: where its
// files are, the types and errors of its API, a client, and Ensure, which
// starts the shim once when nobody listens.
//
// The API is HTTP/1.1 with JSON on a unix socket. It is described for people in
// docs/api.md and for programs in openapi.yaml beside this file. Callers are
// known by their peer credentials; there are no passwords.
//
// A runtime or plugin needs two calls:
//
//	c, err := shim.Ensure(ctx, shim.EnsureConfig{Spawn: true})
//	a, err := c.Attach(ctx, "shared", "c1", "eth0", shim.AttachRequest{…})
package shim
