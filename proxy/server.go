package proxy

import (
	"ftproxy/internal/dial"
	"ftproxy/internal/ftp"
)

// A server is the server that a session is connected to. It belongs to the session's
// loop. A session has none (nil) until it is connected.
type server struct {
	*dial.Server

	always      bool       // it protects data connections and does not know PROT
	noLogin     bool       // it greeted with 230: it wants no login
	lost        bool       // its stream ended; what it owed is settled first
	more        bool       // another line is already buffered
	odd         *ftp.Doubt // the reply under way, where its end is in doubt
	unsolicited int        // replies so far, less those forgiven
	within      bool       // within an unsolicited reply
	extent      ftp.Extent // of that one, or of a 421
}

// gone tells whether the server was there and is not any more.
func (sv *server) gone() bool { return sv != nil && sv.lost }

// hasMore tells whether another line of the server's is already buffered.
func (sv *server) hasMore() bool { return sv != nil && sv.more }
