package transfer

import "ftproxy/internal/ftp"

// An Answer is what is known of a transfer when its client is to have a final reply.
type Answer struct {
	Final    int  // the code of the server's final reply; 0: there is none yet
	Accepted bool // the server let the data flow
	Aborted  bool // the client said ABOR
	*Result
}

// Verdict is the code of a final reply that is true. Where it is not the server's, the
// words are ours, too.
func (a Answer) Verdict() (code int, servers bool) {
	switch {
	case a.Final != 0 && (!a.Accepted || a.Err == nil):
		return a.Final, true
	case a.Final != 0 && a.explained() && (a.Opened || a.Aborted || a.Failed == ServerSide):
		return a.Final, true
	case !a.Opened && !a.Aborted:
		// The client's leg did not come about. What the server says of its
		// own is not the client's affair.
		return 425, false
	}
	return 426, false // 226 would be a lie (H12).
}

// explained tells whether the server's reply says what happened to a transfer
// that failed. After an abort only 426 does (RFC 959 §4.1.3): ftpserverlib finds
// its connection reset before it reads ABOR, and says 550 and both addresses of
// it, and Python's ftplib takes nothing but 225, 226 and 426. In the same way a
// 5xx is wrong where it was not the server's side that failed.
func (a Answer) explained() bool {
	switch {
	case a.Aborted:
		return a.Final == 426
	case a.Failed != ServerSide:
		return ftp.Class(a.Final) == 4
	}
	return ftp.Class(a.Final) >= 4
}

// Outcome is that of a Record of a transfer whose client was answered with code.
func (a Answer) Outcome(code int) string {
	switch {
	case !a.Accepted && a.Final != 0:
		return Refused
	case a.Err != nil:
		return a.Failed.String()
	case ftp.Class(code) >= 4:
		return ServerSide.String()
	}
	return OK
}
