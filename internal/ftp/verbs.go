package ftp

import "strings"

// verbs holds the verbs that clients are known to send, so that their names
// cost no allocation. It says nothing about what ftproxy understands. The X
// forms of RFC 775 are verbs of their own: a server may know only one of two.
var verbs = internVerbs(
	"USER PASS ACCT CWD CDUP SMNT QUIT REIN PORT PASV TYPE STRU MODE RETR STOR STOU APPE ALLO REST RNFR RNTO "+
		"ABOR DELE RMD MKD PWD LIST NLST SITE SYST STAT HELP NOOP", // RFC 959
	"XCWD XCUP XMKD XRMD XPWD",             // RFC 775
	"AUTH ADAT PBSZ PROT CCC MIC CONF ENC", // RFC 2228
	"FEAT OPTS",                            // RFC 2389
	"EPRT EPSV",                            // RFC 2428
	"LPRT LPSV",                            // RFC 1639
	"LANG",                                 // RFC 2640
	"MDTM SIZE MLST MLSD",                  // RFC 3659
	"HOST",                                 // RFC 7151
	"HASH RANG",                            // draft-bryan-ftpext-hash
	"CLNT CSID MFMT MFCT MFF AVBL COMB DSIZ THMB", // FileZilla, ProFTPD, Serv-U, drftpd
	"XCRC XMD5 XSHA XSHA1 XSHA256 XSHA512",
	"SPSV CPSV SSCN ESTP ESTA", // pure-ftpd, glftpd
)

func internVerbs(lists ...string) map[string]string {
	m := make(map[string]string)
	for _, list := range lists {
		for verb := range strings.FieldsSeq(list) {
			m[verb] = verb
		}
	}
	return m
}
