package integration

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"
)

// A failure is a known one: these scenarios of these pairs do not work.
// Patterns are those of path.Match, several with | between them; "" is all.
type failure struct {
	server, client, mode, scenario string
	direct                         bool   // it works without ftproxy
	reason                         string // for the administrator, who asks what to do about it
}

// knownFailures are what does not work through ftproxy; the first that matches
// counts. The sample passes where one of them happens. The full run fails where
// one does not happen anywhere any more, and where "direct" is not as it is.
var knownFailures = []failure{
	{server: "vsftpd", scenario: "mlsd", reason: "vsftpd has no MLSD"},
	{server: "inetutils-ftpd", scenario: "mlsd", reason: "inetutils' ftpd has no MLSD"},
	{server: "embedded", client: "lftp", scenario: "mlsd",
		reason: "lftp wants MLST with its facts in FEAT before it uses MLSD; ftpserverlib lists them without"},

	{server: "embedded", scenario: "stou", reason: "ftpserverlib has no STOU"},
	{server: "inetutils-ftpd", client: "ftplib", scenario: "stou",
		reason: "ftplib sends STOU alone, as RFC 959 has it, and inetutils' ftpd wants a name behind it"},

	{server: "pyftpdlib", scenario: "latin1",
		reason: "pyftpdlib takes every name as UTF-8 and replaces the bytes that are not"},

	{server: "embedded|pyftpdlib|pure-ftpd", client: "ncftp", scenario: "nlst",
		reason: "ncftp sends `NLST -1`, and this server takes the option for a name"},
	{server: "pure-ftpd|inetutils-ftpd", client: "lftp|ftplib|tnftp|inetutils-ftp|rclone|basic-ftp|jlaffaye-ftp", scenario: "odd-folder",
		reason: "this server takes a name with spaces behind LIST for several names, and these clients do not change to the folder first"},
	{server: "pyftpdlib", client: "rclone", scenario: "tree-put",
		reason: "pyftpdlib answers 501 to MLSD of a folder that is not there; rclone creates the folder after 550 only"},
}

func knownFailure(p pair, scenario string) *failure {
	for i := range knownFailures {
		f := &knownFailures[i]
		if matches(f.server, p.server) && matches(f.client, p.client) && matches(f.mode, p.mode.String()) && matches(f.scenario, scenario) {
			return f
		}
	}
	return nil
}

// A limit is what a client has no means for. The patterns are those of failure.
type limit struct{ client, mode, scenario, reason string }

// modeLimits are the modes that clients do not have.
var modeLimits = []limit{
	{client: "lftp", mode: "EPRT", reason: "lftp sends EPRT over IPv6 only"},
	{client: "ncftp", mode: "EPSV|EPRT|*-IPv6", reason: "NcFTP is older than RFC 2428: no EPSV, no EPRT, no IPv6"},
	{client: "wget", mode: "EPSV|EPRT", reason: "wget sends EPSV and EPRT over IPv6 only"},
	{client: "busybox", mode: "PASV", reason: "busybox sends EPSV first, and PASV only to a server that refuses EPSV"},
	{client: "busybox|rclone|basic-ftp|jlaffaye-ftp", mode: "PORT|EPRT|EPRT-IPv6", reason: "passive mode only"},
}

// limits are what clients cannot do in the modes that they have; the first that
// matches counts. A run fails where a client can, or cannot without a reason.
var limits = []limit{
	{client: "curl", scenario: "stou", reason: "curl has no STOU"},
	{client: "curl", scenario: "tree-*", reason: "curl goes through no folders"},
	{client: "lftp", scenario: "append", reason: "lftp has no APPE"},
	{client: "lftp", scenario: "stou", reason: "lftp has no STOU"},
	{client: "lftp", mode: "EPSV", scenario: "latin1",
		reason: "lftp uses EPSV over IPv4 only where FEAT has it, and with FEAT it speaks UTF-8"},
	{client: "ftplib", scenario: "parallel|tree-*", reason: "ftplib has calls for single files only"},
	{client: "tnftp|inetutils-ftp", scenario: "parallel|tree-*",
		reason: "one session, one transfer at a time, and no folders within folders"},
	{client: "inetutils-ftp", scenario: "mlsd", reason: "inetutils' ftp has no MLSD"},
	{client: "ncftp", scenario: "stou", reason: "NcFTP has no STOU"},
	{client: "ncftp", scenario: "parallel", reason: "NcFTP downloads one file at a time"},
	{client: "wget", scenario: "nlst|mlsd", reason: "wget reads folders with LIST only"},
	{client: "wget", scenario: "upload|resume-upload|append|stou|rename|delete|mkdir|tree-put|300 MB up|500 files up",
		reason: "wget downloads only"},
	{client: "wget", scenario: "parallel", reason: "wget downloads one file at a time"},
	{client: "busybox", scenario: "list|nlst|mlsd|odd-folder|tree-*|rename|delete|mkdir|parallel",
		reason: "busybox has ftpget and ftpput, which move one file"},
	{client: "busybox", scenario: "resume-upload|append|stou", reason: "busybox's ftpput sends whole files with STOR only"},
	{client: "rclone", scenario: "nlst", reason: "rclone reads folders with MLSD or LIST"},
	{client: "rclone", scenario: "resume-*|append|stou", reason: "rclone moves whole files, with RETR and STOR only"},
	{client: "rclone", scenario: "latin1", reason: "rclone's names are UTF-8"},
	{client: "basic-ftp", scenario: "nlst", reason: "basic-ftp reads folders with MLSD or LIST"},
	{client: "basic-ftp|jlaffaye-ftp", scenario: "stou", reason: "the library has no STOU"},
	{client: "basic-ftp", scenario: "parallel", reason: "one session, one transfer at a time"},
	{client: "jlaffaye-ftp", scenario: "tree-put", reason: "the library has no upload of folders"},
}

// knownLimit finds the reason why a client cannot do a scenario or a large case.
func knownLimit(client, mode, scenario string) *limit {
	return firstLimit(limits, client, mode, scenario)
}

func firstLimit(list []limit, client, mode, scenario string) *limit {
	for i := range list {
		l := &list[i]
		if matches(l.client, client) && matches(l.mode, mode) && matches(l.scenario, scenario) {
			return l
		}
	}
	return nil
}

// matches reports whether a name fits one of the patterns.
func matches(patterns, name string) bool {
	if patterns == "" {
		return true
	}
	for pattern := range strings.SplitSeq(patterns, "|") {
		ok, err := path.Match(pattern, name)
		if errors.Is(err, path.ErrBadPattern) {
			panic(err)
		}
		if ok {
			return true
		}
	}
	return false
}

// TestModes: a client has a mode, or there is a reason why not.
func TestModes(t *testing.T) {
	for _, c := range clientKinds {
		for _, m := range allModes {
			has := slices.Contains(c.modes, m)
			if limited := firstLimit(modeLimits, c.name, m.String(), ""); has != (limited == nil) {
				t.Errorf("%s in mode %s: %t, limit: %v", c.name, m, has, limited)
			}
		}
	}
}
