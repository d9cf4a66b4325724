package integration

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

	{server: "pure-ftpd", client: "ftplib", scenario: "abort",
		reason: "pure-ftpd's last word on a broken download is a second 150, and ftplib wants 225, 226 or 426 after ABOR"},
	{server: "embedded|pyftpdlib|pure-ftpd", client: "ncftp", scenario: "nlst|spaces|utf8|latin1",
		reason: "ncftp sends `NLST -1`, and this server takes the option for a name"},
	{server: "pure-ftpd", client: "basic-ftp|rclone", scenario: "spaces|utf8|latin1",
		reason: "pure-ftpd takes a name with spaces behind LIST for several"},
	{server: "inetutils-ftpd", client: "basic-ftp|rclone", scenario: "spaces|utf8|latin1",
		reason: "inetutils' ftpd gives the argument of LIST to ls without quotes, so names with spaces are several"},
	{server: "pyftpdlib", client: "rclone", scenario: "tree-put",
		reason: "pyftpdlib answers 501 to MLSD of a folder that is not there; rclone creates the folder after 550 only"},
}
