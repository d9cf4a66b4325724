package proxy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ftproxy/config"
	"ftproxy/internal/ftp"
	"ftproxy/internal/ftptest"
)

// A pairing is a transfer whose two sides are set up in ways of their own.
type pairing struct {
	mode   config.DataMode
	client string // its verb
	client6,
	server6 bool
}

func (p pairing) String() string {
	family := map[bool]string{false: "IPv4", true: "IPv6"}
	return fmt.Sprintf("%s-%s-%s-%s", p.client, family[p.client6], p.mode, family[p.server6])
}

// serverVerb is what the server is told first; "" where there is no way.
func (p pairing) serverVerb() string {
	passive := p.mode == config.DataPassive || p.mode == config.DataClient && ftp.IsPassive(p.client)
	extended := p.server6 || p.client[0] == 'E'
	switch {
	case p.mode.OnlyIPv4() && p.server6:
		return ""
	case slices.Contains([]config.DataMode{config.DataPASV, config.DataEPSV, config.DataPORT, config.DataEPRT}, p.mode):
		return strings.ToUpper(string(p.mode))
	case passive && extended:
		return "EPSV"
	case passive:
		return "PASV"
	case extended:
		return "EPRT"
	}
	return "PORT"
}

func pairings() (all []pairing) {
	for _, mode := range []config.DataMode{config.DataClient, config.DataPassive, config.DataPASV, config.DataEPSV, config.DataActive, config.DataPORT, config.DataEPRT} {
		for _, client := range []string{"PASV", "EPSV", "PORT", "EPRT"} {
			for _, client6 := range []bool{false, true} {
				for _, server6 := range []bool{false, true} {
					if !client6 || client[0] == 'E' {
						all = append(all, pairing{mode, client, client6, server6})
					}
				}
			}
		}
	}
	return all
}

// login begins the dialogue.
func (p pairing) login() string {
	if p.client6 {
		return "login 2001:db8:1::7\n"
	}
	return "login\n"
}

// setup agrees on the data connection and opens the leg of whoever dials at
// once; open opens what is left when the server has said 150.
func (p pairing) setup() string {
	var b strings.Builder
	say := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	command := p.client
	if !ftp.IsPassive(p.client) {
		say("client-data: listen 5001")
		switch {
		case p.client == "PORT":
			command = "PORT 198,51,100,7,19,137"
		case p.client6:
			command = "EPRT |2|2001:db8:1::7|5001|"
		default:
			command = "EPRT |1|198.51.100.7|5001|"
		}
	}
	say("client>  %s", command)
	server := p.serverVerb()
	switch {
	case server == "":
		say("client<  425 Can't open data connection.")
		return b.String()
	case ftp.IsPassive(server):
		say("server<  %s", server)
		say("server-data: listen 50000")
		if server == "PASV" {
			say("server>  227 Entering Passive Mode (10,0,0,5,195,80).")
		} else {
			say("server>  229 Entering Extended Passive Mode (|||50000|)")
		}
	default:
		switch {
		case server == "PORT":
			say("server<  PORT 10,0,0,2,121,24")
		case p.server6:
			say("server<  EPRT |2|fd00::2|31000|")
		default:
			say("server<  EPRT |1|10.0.0.2|31000|")
		}
		say("server>  200 Fine.")
	}
	switch p.client {
	case "PASV":
		say("client<  227 Entering Passive Mode (203,0,113,9,156,64)...")
	case "EPSV":
		say("client<  229 Entering Extended Passive Mode (|||40000|)")
	default:
		say("client<  200 %s command successful.", p.client)
	}
	if ftp.IsPassive(p.client) {
		say("client-data: connect")
	}
	if ftp.IsPassive(server) {
		say("server-data: accept")
	}
	return b.String()
}

// begin is the transfer command until both legs are open.
func (p pairing) begin(command string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "client>  %[1]s\nserver<  %[1]s\n", command)
	if !ftp.IsPassive(p.serverVerb()) {
		b.WriteString("server-data: connect\n")
	}
	b.WriteString("server>  150 Go on.\nclient<  150 Go on.\n")
	if !ftp.IsPassive(p.client) {
		b.WriteString("client-data: accept\n")
	}
	return b.String()
}

// dialogue is all that is tried with a pairing: a download, an upload, and
// then one of each that its sender breaks off.
func (p pairing) dialogue() string {
	if p.serverVerb() == "" {
		return p.login() + p.setup()
	}
	logged := func(result string) string {
		return fmt.Sprintf("log: transfer result=%s client_mode=%s server_mode=%s\n", result, p.client, p.serverVerb())
	}
	port := func(text string, n int) string { // Inside ports are taken in turn.
		if n%2 == 0 {
			return text
		}
		return strings.NewReplacer("121,24", "121,25", "|31000|", "|31001|").Replace(text)
	}
	return p.login() +
		p.setup() + p.begin("RETR f") + `server-data> "hello" * 1000
server-data: close
client-data< "hello" * 1000
client-data: eof
client-data: close
server>  226 Done.
client<  226 Done.
` + logged("ok") +
		port(p.setup(), 1) + p.begin("STOR f") + `client-data> "hello" * 1000
client-data: close
server-data< "hello" * 1000
server-data: eof
server-data: close
server>  226 Stored.
client<  226 Stored.
` +
		port(p.setup(), 2) + p.begin("STOR g") + `client-data> "hello"
server-data< "hello"
client-data: reset
server-data: gone
server>  226 I saw nothing.
client<  426 Connection closed; transfer aborted.
` + logged("client") +
		port(p.setup(), 3) + p.begin("RETR g") + `server-data> "hello"
client-data< "hello"
server-data: reset
client-data: gone
server>  226 I saw nothing.
client<  426 Connection closed; transfer aborted.
` + logged("server")
}

// Any verb of the client's becomes any verb of the server's, within a family
// and across them, and the truth about a transfer is the same in all of them.
func TestModeTranslation(t *testing.T) {
	const base = `
[frontend.public]
listen = ["203.0.113.9:21", "[2001:db8::9]:21"]
public_address = "203.0.113.9"
passive_ports = "40000"
backend = "inside"

[backend.inside]
data_ports = "31000-31001"
`
	all := pairings()
	if want := 7 * 6 * 2; len(all) != want {
		t.Fatalf("%d pairings, want %d", len(all), want)
	}
	dir := t.TempDir()
	for _, p := range all {
		// A name hides from check what family the server has.
		servers := map[bool]string{false: "ftp.internal", true: "ftp6.internal"}[p.server6]
		text := fmt.Sprintf("config> servers = %q\nconfig> data = %q\n%s", servers, p.mode, p.dialogue())
		if err := os.WriteFile(filepath.Join(dir, p.String()+".txt"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ftptest.RunDialogues(t, filepath.Join(dir, "*.txt"), startDialogue(base))
}
