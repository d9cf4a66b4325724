// Package proxy is the engine of ftproxy: it accepts FTP control connections,
// relays their dialogue to a server, rewrites the addresses in it, and joins
// the data connections of both sides.
//
// A [Process] is what outlives every configuration: listeners, data ports,
// counters. A [Runtime] is the rules of one configuration. A session, one
// client's control connection and all it owns, keeps the runtime that it began
// with.
//
// A session is one goroutine that owns its state and does all control writes,
// one pump for each of its two peers, and one goroutine for each transfer. They
// talk through channels; a session has no mutex. Its life is the select in
// session.go; verbs.go is the index of what it understands.
package proxy
