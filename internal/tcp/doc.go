// Package tcp is what the kernel is asked of a TCP connection: to listen and to
// dial with the options that FTP needs, how old a connection is, what of it is
// unread or unacknowledged, whether its peer has ended or reset it, and to end it
// with a FIN or a reset. It imports none of ours, so that every other package may
// ask by it.
//
// Where a function takes a [net.Conn], it asks the innermost connection, as
// [Underlying] finds it: it looks through TLS and other wrappers that have NetConn.
// [WriteUrgent] and [TuneControl] do not, as a wrapper must see what is written. The
// comments say what the answer is for a connection that is not TCP; on systems other
// than Linux it is the same (other.go).
package tcp
