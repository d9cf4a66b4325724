package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"ftproxy/rewrite"
)

// A stressServer is the FTP server of TestStress. It makes the files that it serves
// from their names, keeps no upload but what it was, and knows which session sent it.
type stressServer struct {
	addr   netip.AddrPort
	ledger *ledger
	listen net.Listener

	mu     sync.Mutex
	stored map[string]stressRecord // uploads, by name
	conns  map[net.Conn]struct{}   // control connections
	ended  bool
	all    sync.WaitGroup
}

// A stressRecord is what the server knows of an upload.
type stressRecord struct {
	n       int    // bytes that arrived
	foreign string // as of a stressCheck
	err     error  // nil after a clean end
}

// startStressServer runs one until the end of the test.
func startStressServer(t *testing.T, addr netip.Addr, l *ledger) *stressServer {
	t.Helper()
	listen, err := net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	s := &stressServer{
		addr: listen.Addr().(*net.TCPAddr).AddrPort(), ledger: l, listen: listen,
		stored: make(map[string]stressRecord), conns: make(map[net.Conn]struct{}),
	}
	s.all.Go(s.accept)
	t.Cleanup(s.close)
	return s
}

func (s *stressServer) accept() {
	for {
		conn, err := s.listen.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.ended {
			conn.Close()
		} else {
			s.conns[conn] = struct{}{}
			s.all.Go(func() { s.serve(conn) })
		}
		s.mu.Unlock()
	}
}

func (s *stressServer) close() {
	s.listen.Close()
	s.mu.Lock()
	s.ended = true
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.all.Wait()
}

// takeRecord returns what is known of an upload, and forgets it.
func (s *stressServer) takeRecord(name string) (stressRecord, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.stored[name]
	delete(s.stored, name)
	return r, ok
}

func (s *stressServer) keepRecord(name string, r stressRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored[name] = r
}

// A stressControl is one control connection of the server.
type stressControl struct {
	server  *stressServer
	conn    net.Conn
	session int // from USER
	data    *stressData
	running *stressTransfer
	next    []string // commands that wait for the transfer's end
}

func (s *stressServer) serve(conn net.Conn) {
	c := &stressControl{server: s, conn: conn}
	lines, done := make(chan string), make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(lines)
		for r := bufio.NewScanner(conn); r.Scan(); {
			select {
			case lines <- r.Text():
			case <-done:
				return
			}
		}
	})
	c.reply(220, "Stress.")
	c.loop(lines)
	close(done)
	conn.Close()
	c.dropData()
	if c.running != nil {
		c.running.abort()
		<-c.running.done
	}
	reader.Wait()
	s.mu.Lock()
	delete(s.conns, conn)
	s.mu.Unlock()
}

// loop answers commands in their order. Only ABOR is looked at during a transfer.
func (c *stressControl) loop(lines <-chan string) {
	for {
		for c.running == nil && len(c.next) > 0 {
			line := c.next[0]
			c.next = c.next[1:]
			if !c.command(line) {
				return
			}
		}
		var done <-chan struct{}
		if c.running != nil {
			done = c.running.done
		}
		select {
		case <-done:
			c.reply(c.running.code, c.running.text)
			c.running = nil
		case line, ok := <-lines:
			if !ok {
				return
			}
			if strings.HasSuffix(strings.ToUpper(line), "ABOR") { // Telnet's IP and DM may be before it.
				line = "ABOR"
				if c.running != nil {
					c.running.abort()
				}
			}
			c.next = append(c.next, line)
		}
	}
}

func (c *stressControl) reply(code int, text string) bool {
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := fmt.Fprintf(c.conn, "%d %s\r\n", code, text)
	return err == nil
}

// command tells whether the session goes on.
func (c *stressControl) command(line string) bool {
	verb, arg, _ := strings.Cut(line, " ")
	switch verb = strings.ToUpper(verb); verb {
	case "USER":
		if _, err := fmt.Sscanf(arg, "s%x", &c.session); err != nil {
			return c.reply(530, "Who?")
		}
		return c.reply(331, "Password?")
	case "PASS":
		return c.reply(230, "Logged in.")
	case "TYPE", "NOOP", "OPTS":
		return c.reply(200, "OK.")
	case "FEAT":
		return c.reply(211, "No features.")
	case "SYST":
		return c.reply(215, "UNIX Type: L8")
	case "ABOR":
		return c.reply(226, "ABOR successful.")
	case "QUIT":
		c.reply(221, "Bye.")
		return false
	case "PASV", "EPSV":
		return c.passive(verb)
	case "PORT", "EPRT":
		return c.active(verb, arg)
	case "RETR", "LIST", "STOR":
		return c.begin(verb, arg)
	}
	return c.reply(502, "Not implemented.")
}

func (c *stressControl) dropData() {
	if c.data != nil {
		c.data.close()
		c.data = nil
	}
}

func (c *stressControl) passive(verb string) bool {
	c.dropData()
	d, at, err := listenForData(c.conn)
	if err != nil {
		return c.reply(425, "No port.")
	}
	c.data = d
	if verb == "EPSV" {
		return c.reply(229, fmt.Sprintf("Entering Extended Passive Mode (|||%d|)", at.Port()))
	}
	return c.reply(227, "Entering Passive Mode ("+rewrite.FormatPORT(at)+").")
}

func (c *stressControl) active(verb, arg string) bool {
	c.dropData()
	parse := rewrite.ParsePORT
	if verb == "EPRT" {
		parse = rewrite.ParseEPRT
	}
	at, err := parse(arg)
	if err != nil {
		return c.reply(501, "Syntax error.")
	}
	c.data = dataTo(at, c.conn)
	return c.reply(200, "OK.")
}

// begin starts a transfer, or refuses it: then the data connection that was agreed on
// stays, as with vsftpd and others.
func (c *stressControl) begin(verb, arg string) bool {
	f, ok := parseStressFile(arg)
	if !ok {
		return c.reply(550, "No such file.")
	}
	if f.session != c.session {
		c.server.ledger.mismatch(verb == "STOR", "server: session %06x says %s %s", c.session, verb, arg)
	}
	if c.data == nil {
		return c.reply(425, "Use PASV first.")
	}
	if !c.reply(150, "Here it comes.") {
		return false
	}
	c.running = startStressTransfer(c.server, verb, f, c.data)
	c.data = nil
	return true
}

var errAborted = fmt.Errorf("aborted by the client: %w", io.ErrUnexpectedEOF)
