// Package tcp is what the kernel is asked of a TCP connection: to listen and to
// dial with the options that FTP needs, how old a connection is, what of it is
// unread or unacknowledged, whether its peer has ended or reset it, and to end it
// with a FIN or a reset. It knows nothing of FTP and holds no state of its own.
//
// Where a function takes a [net.Conn], it asks the innermost connection: TLS and
// other wrappers that have NetConn are looked through, as [Underlying] does. A
// connection that is not TCP, and any connection on a system other than Linux,
// gives the answer that its comment names.
package tcp
