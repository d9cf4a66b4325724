package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"ftproxy/config"
)

// scrape reads the metrics at an admin address.
func scrape(t *testing.T, admin string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return string(must(io.ReadAll(answer.Body)))
}

func rewriteFile(t *testing.T, path, old, new string) {
	t.Helper()
	text := string(must(os.ReadFile(path)))
	if !strings.Contains(text, old) {
		t.Fatalf("%s has no %q", path, old)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, old, new)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// SIGHUP puts the changed file in force and tells each change; one that is
// faulty changes nothing and says where the fault is.
func TestReload(t *testing.T) {
	first := freePort(t)
	held := must(net.Listen("tcp", "127.0.0.1:"+first))
	second := "127.0.0.1:" + freePort(t)
	held.Close()
	dir := must(os.MkdirTemp("", "ftproxy"))
	defer os.RemoveAll(dir)
	file := configFile(t, "127.0.0.1:0", "[admin]", `listen = "127.0.0.1:`+first+`"`, "[timeouts]", `idle = "5m"`)
	r := runInBackground(t, "serve", "-config", file)
	admin := event1(t, r.waitFor(r.stderr, `"admin listening"`), "admin listening")["listen"].(string)
	at := event1(t, r.stderr.String(), "listening")["listen"].(string)
	conn := must(net.Dial("tcp", at)) // a session that lives through all of it
	defer conn.Close()
	if text := scrape(t, admin); !strings.Contains(text, "\nftproxy_config_last_reload_successful 1\n") ||
		!strings.Contains(text, "\nftproxy_config_last_reload_success_timestamp_seconds 1.") {
		t.Errorf("at the start:\n%s", text)
	}

	rewriteFile(t, file, `"5m"`, `"6m"`)
	rewriteFile(t, file, "[timeouts]", "[control]\nsocket = \""+dir+"/s\"\n[log]\nlevel = \"debug\"\n[timeouts]")
	r.signals <- syscall.SIGHUP
	log := r.waitFor(r.stderr, `"reloaded"`)
	var changed []string
	for _, e := range events(t, log) {
		if e["message"] == "configuration changed" {
			changed = append(changed, fmt.Sprintf("%s %s %s", e["key"], e["old"], e["new"]))
		}
	}
	want := []string{`control.socket "" "` + dir + `/s"`, `log.level "info" "debug"`, `timeouts.idle "5m" "6m"`}
	if strings.Join(changed, "\n") != strings.Join(want, "\n") {
		t.Errorf("changes: %q, want %q", changed, want)
	}
	if e := event1(t, log, "reloaded"); e["changes"] != 3.0 || e["file"] != file || e["cause"] != "hangup" {
		t.Errorf("reloaded: %v", e)
	}
	if _, err := os.Stat(dir + "/s"); err != nil {
		t.Error(err)
	}

	rewriteFile(t, file, `idle = "6m"`, `idle = 6`)
	r.signals <- syscall.SIGHUP
	log = r.waitFor(r.stderr, `"not reloaded, the configuration in force stays"`)
	if e := event1(t, log, "configuration refused"); !strings.HasPrefix(e["problem"].(string), file+":8: timeouts.idle: must be a string") {
		t.Errorf("refused: %v", e)
	}
	if text := scrape(t, admin); !strings.Contains(text, "\nftproxy_config_last_reload_successful 0\n") {
		t.Errorf("after a refusal:\n%s", text)
	}

	// The admin address moves; what listens stays.
	rewriteFile(t, file, `idle = 6`, `idle = "6m"`)
	rewriteFile(t, file, admin, second)
	r.signals <- syscall.SIGHUP
	r.waitFor(r.stderr, `"key":"admin.listen"`)
	r.waitFor(r.stderr, `"changes":1,`)
	if text := scrape(t, second); !strings.Contains(text, "\nftproxy_config_last_reload_successful 1\n") ||
		!strings.Contains(text, `ftproxy_sessions_started_total{frontend="public"} 1`) {
		t.Errorf("at the new address:\n%s", text)
	}
	r.signals <- syscall.SIGTERM
	if code := r.exit(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(dir + "/s"); !os.IsNotExist(err) {
		t.Errorf("the control socket is left: %v", err)
	}
}

// What an address is refused for is told in the log; the one in force stays open.
func TestReloadOfAnAddressThatIsTaken(t *testing.T) {
	taken := must(net.Listen("tcp", "127.0.0.1:0"))
	defer taken.Close()
	file := configFile(t, "127.0.0.1:0")
	r := runInBackground(t, "serve", "-config", file)
	at := event1(t, r.waitFor(r.stderr, `"listening"`), "listening")["listen"].(string)
	rewriteFile(t, file, `"127.0.0.1:0"`, `["127.0.0.1:0", "`+taken.Addr().String()+`"]`)
	r.signals <- syscall.SIGHUP
	log := r.waitFor(r.stderr, `"not reloaded`)
	if e := event1(t, log, "configuration refused"); !strings.Contains(e["problem"].(string), "the port is in use by another program") {
		t.Errorf("refused: %v", e)
	}
	must(net.Dial("tcp", at)).Close()
	r.signals <- syscall.SIGTERM
	r.exit()
}

// The exit code tells whether anything had to be cut.
func TestExitCodeOfACut(t *testing.T) {
	server := must(net.Listen("tcp", "127.0.0.1:0"))
	defer server.Close()
	file := configFile(t, "127.0.0.1:0")
	rewriteFile(t, file, "127.0.0.1:1", server.Addr().String())
	r := runInBackground(t, "serve", "-config", file)
	at := event1(t, r.waitFor(r.stderr, `"listening"`), "listening")["listen"].(string)
	client := must(net.Dial("tcp", at))
	defer client.Close()
	peer := must(server.Accept())
	defer peer.Close()
	must(io.WriteString(peer, "220 ready\r\n"))
	must(bufio.NewReader(client).ReadString('\n'))
	must(io.WriteString(client, "USER anna\r\n"))
	must(bufio.NewReader(peer).ReadString('\n')) // It is never answered, so the session is busy.

	r.signals <- syscall.SIGTERM
	r.waitFor(r.stderr, `"stopping"`)
	r.signals <- syscall.SIGHUP // no way to stay
	r.waitFor(r.stderr, errStopping.Error())
	r.signals <- syscall.SIGTERM
	if code := r.exit(); code != exitCut {
		t.Errorf("exit code %d, want %d", code, exitCut)
	}
}

// A limit of descriptors that is too low is told with what to set.
func TestCheckDescriptors(t *testing.T) {
	conf, err := config.Parse("config.toml", []byte("[limits]\nsessions = 1000\n"+
		"[frontend.public]\nlisten = \"127.0.0.1:21\"\nbackend = \"legacy\"\n[backend.legacy]\nservers = \"10.0.0.5\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	needed := conf.Descriptors()
	for _, limit := range []int{0, needed, needed + 1} {
		if err := checkDescriptors(conf, limit); err != nil {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	want := fmt.Sprintf("limits.sessions = 1000 needs %d file descriptors, and this process may have %d: set LimitNOFILE=%d "+
		"in the systemd unit, or `ulimit -n %d` before the start, or write limits.sessions = 800", needed, needed-1200, needed, needed)
	if err := checkDescriptors(conf, needed-1200); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := checkDescriptors(conf, 20); err == nil || strings.Contains(err.Error(), "write") {
		t.Errorf("with 20: %v", err)
	}
}

// Go raises the limit of descriptors to the hard one by itself; a service that
// is started with the usual 1024 has more.
func TestDescriptorLimitIsTheHardOne(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if got := descriptorLimit(); uint64(got) != min(limit.Max, 1<<31-1) {
		t.Errorf("%d, the hard limit is %d", got, limit.Max)
	}
	if n := openDescriptors(); n < 3 {
		t.Errorf("%d are open", n)
	}
}

// A reload that takes its time, because a resolver does, holds up neither a stop
// nor a status.
func TestStopDuringAReload(t *testing.T) {
	file := configFile(t, "127.0.0.1:0")
	conf, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	var logs syncBuffer
	log, target := newLogger(conf.Log, &logs)
	s := newService(log)
	s.file, s.target, s.warnings = file, target, (&program{sysctl: "/proc/sys"}).warnings
	if st := s.Status(); st.Sessions != 0 {
		t.Errorf("before the start: %+v", st)
	}
	if err := s.start(conf); err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 8)
	ended := make(chan error, 1)
	go func() {
		_, err := s.untilStopped(context.Background(), signals)
		ended <- err
	}()
	s.mu.Lock() // what a reload holds
	for range 3 {
		signals <- syscall.SIGHUP
	}
	signals <- syscall.SIGTERM
	waitFor(t, "the stop", func() bool { return strings.Contains(logs.String(), `"stopping"`) })
	if st := s.Status(); st.State != "draining" || len(st.Frontends) != 1 {
		t.Errorf("%+v", st)
	}
	s.mu.Unlock()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if text := logs.String(); strings.Contains(text, `"reloaded"`) || !strings.Contains(text, errStopping.Error()) {
		t.Error(text)
	}
}

// Raising the level does not hide what else has changed.
func TestReloadThatRaisesTheLogLevel(t *testing.T) {
	file := configFile(t, "127.0.0.1:0", "[log]", `level = "info"`, "[timeouts]", `idle = "5m"`)
	r := runInBackground(t, "serve", "-config", file)
	r.waitFor(r.stderr, `"listening"`)
	rewriteFile(t, file, `"info"`, `"error"`)
	rewriteFile(t, file, `"5m"`, `"6m"`)
	r.signals <- syscall.SIGHUP
	if e := event1(t, r.waitFor(r.stderr, `"reloaded"`), "reloaded"); e["changes"] != 2.0 {
		t.Errorf("%v", e)
	}
	rewriteFile(t, file, `"error"`, `"info"`)
	r.signals <- syscall.SIGHUP
	r.waitFor(r.stderr, `"old":"\"error\""`)
	r.signals <- syscall.SIGTERM
	r.exit()
}
