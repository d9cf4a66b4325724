package ftp

// AnswerWithoutServer is the reply to a command of a client that has no server yet, because
// its user name decides which one it gets. A code of 400 or more is a refusal.
func AnswerWithoutServer(verb string) (code int, text string) {
	switch verb {
	case "NOOP":
		return 200, "NOOP command successful."
	case "HELP":
		return 214, "Log in with USER and PASS."
	case "QUIT":
		return 221, "Goodbye."
	case "ABOR":
		return 225, "Nothing to abort."
	case "REIN":
		return 220, "Service ready."
	case "PASS", "ACCT":
		return 503, "Log in with USER first."
	case "OPTS", "CLNT", "HOST", "LANG", "CSID": // A server might say no to them.
		return 502, "Not available before the login."
	}
	return 530, "Please log in with USER and PASS."
}
