package ftp

import "regexp"

// What the codes of replies mean, and the words where the codes say too little.

// RefusesVerb tells the replies that mean "not this verb" from those that mean
// "not now". A 200 to EPSV comes from servers that understood something else (H8).
func RefusesVerb(code int) bool {
	switch code {
	case 500, 501, 502, 504, 522, 200, 202:
		return true
	}
	return false
}

// UnknownCommand tells the codes for a command that a server does not know, which no
// transfer that it has announced is answered with.
func UnknownCommand(code int) bool { return code/10 == 50 }

// EndsData tells the refusals of a transfer that are about its data connection. A server
// that says so has given it up.
func EndsData(code int) bool { return code == 425 || code == 426 }

// AnswersABOR tells the codes of success that ABOR is answered with (RFC 959 §5.4).
func AnswersABOR(code int) bool { return code == 225 || code == 226 }

// ABORFirst tells whether the first of two final replies, to a transfer and to the ABOR that ended it,
// was ABOR's. announced: the server has announced the transfer. ProFTPD says 226 to ABOR and
// then 426 to the transfer. 225 is nothing but ABOR's, 226 may be the transfer's, too; and a
// server that does not know ABOR says so at once, and 426 when it finds its data connection broken.
func ABORFirst(first, second int, announced bool) bool {
	switch {
	case first == 225:
		return true
	case AnswersABOR(first):
		return Class(second) >= 4 && !UnknownCommand(second)
	default:
		return announced && UnknownCommand(first) && !UnknownCommand(second)
	}
}

// IsPassive tells whether the side that is told so listens.
func IsPassive(verb string) bool { return verb == "PASV" || verb == "EPSV" }

// namesTLS finds the replies of servers that want TLS. They say so in their own words: 530
// Non-anonymous sessions must use encryption (vsftpd), 550 SSL/TLS required on the control
// channel (ProFTPD, pyftpdlib), 421 … cleartext sessions … are not accepted (pure-ftpd),
// 534 Policy requires SSL (IIS), 503 Use AUTH first (FileZilla Server).
var namesTLS = regexp.MustCompile(`(?i)\b(tls|ssl|ftps|ftpes|encryption|encrypted|clear-?text|use auth|protected)\b`)

// WantsTLS tells whether a server's refusal is one for want of TLS.
func WantsTLS(code int, text string) bool { return code == 534 || namesTLS.MatchString(text) }
