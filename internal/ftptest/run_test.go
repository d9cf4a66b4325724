package ftptest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// startRelay starts a proxy that copies lines in both directions and
// understands nothing. It ends when its sessions have ended or drainTime has
// passed. Words in config make it misbehave.
func startRelay(t testing.TB, h *Host, config string, logs io.Writer) Proxy {
	const drainTime = time.Minute
	r := &relay{host: h, config: config, logs: logs, server: netip.AddrPortFrom(server1, 21)}
	if strings.Contains(config, "IPv6") {
		r.server = netip.AddrPortFrom(server1v6, 21)
	}
	var listeners []net.Listener
	for _, a := range []netip.AddrPort{frontend, frontend6} {
		l, err := h.Listen(a)
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		r.wg.Go(func() { r.serve(l) })
	}
	stop := func() {
		for _, l := range listeners {
			l.Close()
		}
		if strings.Contains(config, "slow stop") {
			<-time.After(2 * stopTimeout)
		}
		timer := time.AfterFunc(drainTime, r.cut)
		r.wg.Wait()
		timer.Stop()
	}
	if strings.Contains(config, "no reload") {
		return Proxy{Stop: stop}
	}
	return Proxy{Stop: stop, Reload: r.reload}
}

type relay struct {
	host   *Host
	logs   io.Writer
	server netip.AddrPort
	wg     sync.WaitGroup

	mu     sync.Mutex
	config string // of new sessions
	conns  []net.Conn
}

// reload takes all configurations but those that say "wrong".
func (r *relay) reload(changes string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	config, err := Changed(r.config, changes)
	if err != nil {
		return err
	}
	if strings.Contains(config, "wrong") {
		return errors.New("something is wrong")
	}
	r.config = config
	return nil
}

func (r *relay) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		r.wg.Go(func() { r.session(c) })
	}
}

func (r *relay) session(client net.Conn) {
	fmt.Fprintf(r.logs, `{"level":"info","client":%q,"port":21,"ok":true,"message":"session start"}`+"\n", client.RemoteAddr())
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	server, err := r.host.Dial(ctx, netip.AddrPort{}, r.server)
	if err != nil {
		fmt.Fprintf(client, "421 No server.\r\n")
		client.Close()
		return
	}
	r.mu.Lock()
	r.conns = append(r.conns, client, server)
	config := r.config
	r.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { lines(server, client, config) })
	wg.Go(func() { lines(client, server, config) })
	wg.Wait()
	if !strings.Contains(config, "leak") {
		client.Close()
		server.Close()
	}
}

// lines copies until the end, and passes on how it ended.
func lines(to, from net.Conn, config string) {
	in := bufio.NewReader(from)
	for {
		line, err := in.ReadString('\n')
		switch {
		case err == io.EOF:
			to.(*Conn).CloseWrite()
			return
		case err != nil:
			to.(*Conn).SetLinger(0)
			to.Close()
			return
		}
		switch {
		case strings.Contains(config, "split"):
			io.WriteString(to, line[:1])
			io.WriteString(to, line[1:])
		case strings.Contains(config, "shout = true"):
			io.WriteString(to, strings.ToUpper(line))
		case strings.HasPrefix(line, "ABOR"):
			to.(*Conn).WriteUrgent([]byte("\xff\xf2"))
			io.WriteString(to, line)
		default:
			io.WriteString(to, line)
		}
	}
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
}

func TestRunDialogues(t *testing.T) {
	RunDialogues(t, "testdata/dialogues/*.txt", startRelay)
}

// recorder is a TB that remembers failures instead of failing.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// failuresOf runs a dialogue that should fail.
func failuresOf(t *testing.T, text string) []string {
	t.Helper()
	d, err := parse("test.txt", text)
	if err != nil {
		t.Fatal(err)
	}
	rec := &recorder{TB: t}
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		go func() { // Fatalf ends the goroutine.
			defer close(done)
			d.run(rec, startRelay)
		}()
		<-done
		<-time.After(2 * stopTimeout) // The slow stop ends.
	})
	return rec.failures
}

// Each of these fails on its last line but one where text ends with "next",
// else on its last.
func TestDialogueFails(t *testing.T) {
	const session = "login\n"
	tests := []struct {
		name, text string
		line       int
		want       string // in the failure
	}{
		{"other line", session + "client> NOOP\nserver< STAT", 3, `want a line "STAT"` + "\n got \"NOOP\\r\\n\""},
		{"longer line", session + "client> NOOP 1\nserver< NOOP", 3, "want a line"},
		{"other beginning", session + "client> NOOP 1\nserver< STAT...", 3, "want a line"},
		{"bare LF", session + `client> "NOOP\n"` + "\nserver< NOOP", 3, `got "NOOP\n"`},
		{"nothing", session + "server< NOOP", 2, "got nothing"},
		{"nothing but the end", session + "client: half-close\nserver< NOOP", 3, "got nothing: eof"},
		{"half a line", session + `server-data: listen 5000
server> 227 =10,0,0,5,19,136
client< 227 ...
client-data: connect
server-data: accept
client-data> "half"
server-data< half`, 8, `got "half"`},
		{"other bytes", session + "client> NOOP\n" + `server< "NOOP\n"`, 3, `want "NOOP\n"`},
		{"fewer bytes", session + "client> NOOP\n" + `server< "NOOP\r\nNOOP"`, 3, `got "NOOP\r\n"`},
		{"not in time", "config> slow\nlogin\nserver< NOOP", 3, "got nothing"},
		{"line in pieces", "config> split\nclient: connect\nserver: accept\nclient> NOOP\nserver< NOOP", 5, "one write"},
		{"unexpected at the end", session + "client> NOOP", 2, `server received, and no step expected: "NOOP\r\n"`},
		{"unexpected on a former connection", session + "client> NOOP\nclient: connect\nserver: accept", 4, `"NOOP\r\n"`},
		{"unaccepted at the end", "client: connect", 1, "no step accepted"},
		{"unaccepted data at the end", session + "client-data: listen 5001\nstranger: connect 198.51.100.7:5001", 3, "client-data waits"},
		{"not silent", session + "client> NOOP\nserver: silent", 3, `got "NOOP\r\n"`},
		{"silent but ended", session + "client: close\nserver: silent", 3, "eof"},
		{"silent but somebody waits", "client: connect\nserver: silent", 2, "10.0.0.5:21"},
		{"no end", session + "client: eof", 2, "open"},
		{"end before what was sent", session + "client> NOOP\nclient: close\nserver: eof", 4, "NOOP"},
		{"eof, not gone", session + "client: close\nserver: gone", 3, "the connection is eof"},
		{"gone, not eof", session + "client: reset\nserver: eof", 3, "the connection is gone"},
		{"not closed", session + "server: closed", 2, "open"},
		{"closed by itself", session + "server: close\nserver: closed", 3, "itself"},
		{"no connection", "server> 220 ready", 1, "no connection"},
		{"no connection for data", "client-data: listen 5001", 1, "client has no connection"},
		{"nobody told the address", session + "client-data: connect", 2, "nobody told client"},
		{"connect refused", "client: connect 203.0.113.9:22", 1, "refused"},
		{"connect dropped", "server: drop-dials\nclient: connect 10.0.0.5:21", 2, "does not answer"},
		{"one server drops", "server: drop-dials 10.0.0.6\nclient: connect 10.0.0.5:21\nserver: accept\nclient: connect 10.0.0.6:21", 4, "does not answer"},
		{"client drops", "client: drop-dials\nstranger: connect 198.51.100.7:5001", 2, "does not answer"},
		{"client of a session drops", "login 198.51.100.9\nclient-data: drop-dials\nstranger: connect 198.51.100.9:5001", 3, "does not answer"},
		{"one server refuses", "server: refuse-dials 10.0.0.6\nclient: refused 10.0.0.6:21\nclient: refused 10.0.0.5:21", 3, "accepts"},
		{"not refused", "client: refused", 1, "accepts"},
		{"nobody connected", "server: accept", 1, "nobody"},
		{"connected elsewhere", "client: connect\nserver: accept at 10.0.0.6", 2, "nobody"},
		{"connected from elsewhere", "client: connect\nserver: accept from 10.0.0.3", 2, "10.0.0.2:"},
		{"listen twice", session + "client-data: listen 5001\nclient-data2: listen 5001", 3, "in use"},
		{"not urgent", session + "client> NOOP\nserver< NOOP\nserver: urgent", 4, "nothing urgent"},
		{"other urgent", session + "client> ABOR\nserver: urgent \"\\xff\"", 3, `"\xff\xf2"`},
		{"urgent once", session + "client> ABOR\nserver: urgent\nserver: urgent", 4, "nothing urgent"},
		{"no such message", session + "log: session end", 2, "no such line"},
		{"other field", session + "log: session start client=198.51.100.8...", 2, "no such line"},
		{"no such field", session + "log: session start user=anna", 2, "no such line"},
		{"logged", session + "no-log: session start client=198.51.100.7...", 2, "is in the log"},
		{"logged text", session + "no-log: \"session\"", 2, "is in the log"},
		{"not draining", session + "draining", 2, "not draining"},
		{"not drained", session + "drain\ndrained", 3, "not stopped"},
		{"drained already", session + "client: close\nserver: close\ndrain\ndraining", 5, "not draining"},
		{"drain twice", session + "drain\ndrain", 3, "draining"},
		{"refuses already", "server: refuse-dials\nserver: refuse-dials", 2, "does not listen"},
		{"in a macro", "server: refuse-dials\nlogin", 2, "login (server accept)"},
		{"reload refused", session + "reload> wrong\nreload", 3, "refused: something is wrong"},
		{"reload without what is not there", session + "reload> without x\nreload", 3, "refused: there is no x"},
		{"reload not refused", session + "reload-refused: wrong", 2, "not refused"},
		{"reload refused otherwise", session + "reload> wrong\nreload-refused: right", 3, "refused otherwise: something is wrong"},
		{"no reload", "config> no reload\nreload", 2, "keeps its configuration"},
		{"not read", session + "server: stop-reading\nclient> NOOP\nserver< NOOP", 4, "got nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := failuresOf(t, tt.text)
			if len(got) != 1 {
				t.Fatalf("%d failures: %q", len(got), got)
			}
			if !strings.HasPrefix(got[0], fmt.Sprintf("test.txt:%d: ", tt.line)) || !strings.Contains(got[0], tt.want) {
				t.Errorf("failure:\n%s\nwant line %d and %q", got[0], tt.line, tt.want)
			}
		})
	}
}

// The failure of one who forgets to close, and of one who stops too late, has
// no line.
func TestDialogueFailsAfterItsEnd(t *testing.T) {
	for text, want := range map[string]string{
		"config> leak\nlogin\nclient: close\nserver: close": "left open:\n\tconnection 10.0.0.2:",
		"login\nclient> PASS session\nserver< PASS session": `the password "session" is in the log`,
		"config> slow stop\nlogin":                          "has not stopped within 1h",
	} {
		got := failuresOf(t, text)
		if len(got) == 0 || !strings.Contains(got[0], want) {
			t.Errorf("%q: failures %q, want %q", text, got, want)
		}
	}
}

func TestFailureShowsWhatHappened(t *testing.T) {
	got := failuresOf(t, "login\nwait: 30s\nclient> NOOP\nserver< STAT")
	for _, want := range []string{
		"0s       client          connection 198.51.100.7:",
		`0s       server          < "USER anna\r\n"`,
		`30s      client          > "NOOP\r\n"`,
		`"message":"session start"`,
	} {
		if !strings.Contains(got[0], want) {
			t.Errorf("no %q in\n%s", want, got[0])
		}
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"nothing", "# only a comment\n", "test.txt:1: no steps"},
		{"no step", "login\n\nhello", "test.txt:3: hello: not a step"},
		{"nobody", "proxy: close", `"proxy" is nobody`},
		{"session 0", "client0: close", `"client0" is nobody`},
		{"unknown verb", "client: hang-up", `unknown verb "hang-up"`},
		{"verb of others", "server: connect", "connect is not for server"},
		{"verb of control", "client-data: refuse-dials", "refuse-dials is not for client-data"},
		{"reload of nothing", "login\nreload> x\nclient: close", "test.txt:3: client: close: reload or reload-refused must follow"},
		{"reload at the end", "login\nreload> x\n\n", "test.txt:2: reload or reload-refused must follow"},
		{"refused why", "reload-refused:", "want a text"},
		{"reload what", "reload now", `nothing may follow, not "now"`},
		{"late config", "login\nconfig> x", "test.txt:2: config> must stand before"},
		{"too much", "client: close now", `nothing may follow, not "now"`},
		{"too much after a macro", "drain now", `nothing may follow, not "now"`},
		{"no bytes", "client>", "want a line"},
		{"endless string", `client> "x`, "does not end"},
		{"after a string", `client> "x" y`, "only * and a number"},
		{"bad factor", `client> "x" * -1`, "only * and a number"},
		{"no address", "client: connect here", "want an address"},
		{"two sources", "client: connect 10.0.0.1 10.0.0.2", "want an address"},
		{"no port", "client-data: listen here", "here"},
		{"accept what", "server: accept near 10.0.0.1", `what is "near"`},
		{"accept half", "server: accept from", `what is "from"`},
		{"accept at for data", "client-data: accept at 10.0.0.1", `what is "at"`},
		{"accept from nowhere", "server: accept from here", "here"},
		{"no server", "server: refuse-dials here", "here"},
		{"urgent line", "server: urgent ABOR", "want a string"},
		{"no time", "wait: long", "long"},
		{"no buffer", "network: slow", "want buffer"},
		{"no size", "network: buffer big", "big"},
		{"log nothing", "log: a=b", "want a message"},
		{"log message later", "log: x a=b y", "want key=value"},
		{"log without blank", `log: x a="b"c`, "want a blank"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse("test.txt", tt.text)
			if err == nil || !strings.HasPrefix(err.Error(), "test.txt:") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/dialogues/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal("no dialogues: ", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parse("test.txt", text)
		if err == nil && len(d.steps) == 0 {
			t.Error("accepted without steps")
		}
	})
}

// Every verb is explained in the package's documentation and used in a dialogue.
func TestVerbsAreDocumentedAndUsed(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var used strings.Builder
	files, _ := filepath.Glob("testdata/dialogues/*.txt")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		used.Write(b)
	}
	var words []string
	for v := range verbs {
		words = append(words, ": "+v)
	}
	for v := range nobodys {
		words = append(words, v+": ")
	}
	for _, w := range append(words, "login", "drain", "draining", "drained", "reload> ", "reload\n") {
		if w != ": connect6" && !strings.Contains(string(doc), w) {
			t.Errorf("%q is not documented", w)
		}
		if !strings.Contains(used.String(), w) {
			t.Errorf("%q is in no dialogue", w)
		}
	}
}
