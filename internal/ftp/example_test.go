package ftp_test

import (
	"fmt"
	"strings"

	"ftproxy/internal/ftp"
)

// What a client sends is read as commands, and sent to a server in one form.
func ExampleCommandReader() {
	r := ftp.NewCommandReader(strings.NewReader("user anonymous\n" +
		ftp.TelnetSynch + "ABOR\r\n" +
		"PWD\rQUIT\r\n"))
	for {
		c, err := r.Read()
		if err != nil {
			fmt.Println(err)
			return
		}
		if c.Fault != nil {
			fmt.Printf("refused with %d %s\n", c.Fault.Code, c.Fault.Text)
			continue
		}
		fmt.Printf("%q urgent=%v\n", c.AppendLine(nil), c.Urgent)
	}
	// Output:
	// "USER anonymous\r\n" urgent=false
	// "ABOR\r\n" urgent=true
	// refused with 501 Control character in command.
	// EOF
}

// Only the last line ends a reply; others may begin with any digits.
func ExampleReplyReader() {
	r := ftp.NewReplyReader(strings.NewReader("220-Welcome.\r\n227 is not for you\r\n220 Ready.\r\n226\r\n"))
	for {
		l, err := r.Read()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%d %-20q last=%v\n", l.Code, l.Text, l.Last)
	}
	// Output:
	// 220 "220-Welcome."       last=false
	// 220 "227 is not for you" last=false
	// 220 "220 Ready."         last=true
	// 226 "226 "               last=true
	// EOF
}

func ExampleAppendReply() {
	fmt.Printf("%q\n", ftp.AppendReply(nil, 425, "Can't open data connection."))
	fmt.Printf("%q\n", ftp.AppendReply(nil, 220, "Welcome.\nNo secrets here."))
	// Output:
	// "425 Can't open data connection.\r\n"
	// "220-Welcome.\r\n220 No secrets here.\r\n"
}

func ExampleQuote() {
	fmt.Println(ftp.Quote([]byte("RETR \x1b[2Jcaf\xe9\r\n")))
	// Output: RETR \x1b[2Jcaf\xe9\r\n
}
