//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// A peer is one way from the users to the stub.
type peer struct {
	name  string
	title string // in tables and charts
	blurb string // settings worth knowing
	// ftp: it knows FTP, so it can follow PORT and has passive ports of its own.
	ftp bool
	// secures: it is measured with TLS, too.
	secures bool
	// sessions is the most that it is asked to hold in the tests of memory and
	// of many transfers: a process for each is heavy.
	sessions int
	// command writes what the peer needs below dir and returns its command.
	command func(b *bench, s settings, dir string) ([]string, error)
	// version returns one line, or why there is none: then it is not measured.
	version func(b *bench) (string, error)
}

// settings are what an instance of a peer is started with.
type settings struct {
	addr        string
	port        int // control
	first, last int // passive ports, its own or those that it maps
	inside      int // first of 100 ports for servers in active mode
	server      string
	serverPort  int
	way         protection
}

// The names that the bars compare.
const (
	direct   = "direct"
	floor    = "relay"
	ours     = "ftproxy"
	other    = "against"
	haproxy  = "haproxy"
	spliced  = "haproxy-splice"
	suse     = "suse"
	modProxy = "mod_proxy"
)

// peers are all of them, in the order of tables.
var peers = []peer{
	{name: direct, title: "direct", blurb: "no proxy; with TLS the server is a process of its own, on the proxy's core", ftp: true, secures: true, sessions: 1 << 20},
	{name: floor, title: "bare Go relay", blurb: "port to port, knows no FTP; data by io.Copy (splice, pipes of 1 MiB), control by read and write",
		sessions: 1 << 20, command: relayCommand, version: relayVersion},
	{name: ours, title: "ftproxy", blurb: "defaults but for ports; logs to /dev/null; as an unprivileged user",
		ftp: true, secures: true, sessions: 1 << 20, command: ftproxyCommand(false), version: ftproxyVersion(false)},
	{name: other, title: "ftproxy (other)", blurb: "the other binary, set as ftproxy",
		ftp: true, secures: true, sessions: 1 << 20, command: ftproxyCommand(true), version: ftproxyVersion(true)},
	{name: haproxy, title: "HAProxy TCP", blurb: "mode tcp, data ports mapped one to one, no splicing, no log",
		sessions: 1 << 20, command: haproxyCommand(false), version: haproxyVersion},
	{name: spliced, title: "HAProxy TCP, splice", blurb: "the same with option splice-request and splice-response",
		sessions: 5000, command: haproxyCommand(true), version: haproxyVersion},
	{name: suse, title: "SuSE ftp-proxy", blurb: "standalone, ForkLimit and MaxClients raised, random ports",
		ftp: true, sessions: 500, command: suseCommand, version: suseVersion},
	{name: modProxy, title: "ProFTPD mod_proxy", blurb: "ProxyRole reverse, TLS where it is measured, no name look-ups, no logs",
		ftp: true, secures: true, sessions: 100, command: modProxyCommand, version: modProxyVersion},
}

func relayCommand(b *bench, s settings, _ string) ([]string, error) {
	return []string{b.self, "relay", "-listen", s.addr, "-control", fmt.Sprint(s.port), "-server", fmt.Sprintf("%s:%d", s.server, s.serverPort),
		"-first", fmt.Sprint(s.first), "-count", fmt.Sprint(s.last - s.first + 1)}, nil
}

func relayVersion(*bench) (string, error) { return goVersion(), nil }

// stubCommand is the stub in a process of its own: with TLS, direct connections
// cost the server's core what they would cost the proxy's.
func stubCommand(b *bench, s settings, _ string) ([]string, error) {
	return []string{b.self, "stub", "-listen", s.addr, "-control", fmt.Sprint(s.port), "-first", fmt.Sprint(s.first), "-certificate", b.cert.file}, nil
}

// ftproxyLimits ask for as much as the machine has descriptors for.
const ftproxyLimits = `[limits]
sessions = %d
transfers = %d

`

const ftproxyConfig = `[frontend.bench]
listen = "%s:%d"
passive_ports = "%d-%d"
backend = "stub"

[backend.stub]
servers = "%s:%d"
data_ports = "%d-%d"
`

// ftproxyTLS and ftproxyServerTLS are tables of ftproxyConfig's.
const (
	ftproxyTLS = `
[frontend.bench.tls]
mode = "optional"
certificate = "%s"
min_version = "1.3"
`
	ftproxyServerTLS = `
[backend.stub.tls]
mode = "explicit"
ca = "%s"
server_name = "bench"
min_version = "1.3"
`
)

func ftproxyCommand(against bool) func(*bench, settings, string) ([]string, error) {
	return func(b *bench, s settings, dir string) ([]string, error) {
		config := filepath.Join(dir, "config.toml")
		text := fmt.Sprintf(ftproxyConfig, s.addr, s.port, s.first, min(s.last, s.first+99), s.server, s.serverPort, s.inside, s.inside+99)
		if s.way != inClear {
			text += fmt.Sprintf(ftproxyTLS, b.cert.file)
		}
		if s.way == bothSides {
			text += fmt.Sprintf(ftproxyServerTLS, b.cert.file)
		}
		command := []string{b.binary(against), "serve", "-config", config}
		if err := write(config, fmt.Sprintf(ftproxyLimits, b.most(), runningMost)+text); err != nil {
			return nil, err
		}
		if exec.Command(b.binary(against), "check", "-config", config).Run() == nil {
			return command, nil
		}
		return command, write(config, text) // An older one does not know of transfers, nor bounds them.
	}
}

func (b *bench) binary(against bool) string {
	if against {
		return b.against
	}
	return b.ftproxy
}

func ftproxyVersion(against bool) func(*bench) (string, error) {
	return func(b *bench) (string, error) {
		if b.binary(against) == "" {
			return "", fmt.Errorf("not asked for")
		}
		return firstLine(b.binary(against), "version")
	}
}

const haproxyConfig = `global
	%s

defaults
	mode tcp
	timeout connect 10s
	timeout client 10m
	timeout server 10m
%s
listen control
	bind %s:%d
	server stub %s:%d

listen data
	bind %s:%d-%d
	server stub %s
`

func haproxyCommand(splice bool) func(*bench, settings, string) ([]string, error) {
	return func(b *bench, s settings, dir string) ([]string, error) {
		options, limits := "", fmt.Sprintf("maxconn %d", b.most())
		if splice {
			limits = fmt.Sprintf("maxconn %d\n\tmaxpipes 1000", b.most()-1000) // a pipe is two descriptors
			options = "\toption splice-request\n\toption splice-response\n"
		}
		config := filepath.Join(dir, "haproxy.cfg")
		text := fmt.Sprintf(haproxyConfig, limits, options, s.addr, s.port, s.server, s.serverPort, s.addr, s.first, s.last, s.server)
		return []string{b.unpacked("haproxy", "usr/sbin/haproxy"), "-db", "-f", config}, write(config, text)
	}
}

func haproxyVersion(b *bench) (string, error) {
	return firstLine(b.unpacked("haproxy", "usr/sbin/haproxy"), "-v")
}

const suseConfig = `[-Global-]
ServerType standalone
Listen %s
Port %d
DestinationAddress %s
DestinationPort %d
PassiveMinDataPort %d
PassiveMaxDataPort %d
MaxClients 512
ForkLimit 1000000
SockBindRand yes
User nobody
Group nogroup
LogDestination %s
PidFile %s
`

func suseCommand(b *bench, s settings, dir string) ([]string, error) {
	logs := filepath.Join(dir, "logs") // nobody's: it opens its log late
	if err := errors.Join(os.Mkdir(logs, 0o777), os.Chmod(logs, 0o777)); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "ftp-proxy.conf")
	text := fmt.Sprintf(suseConfig, s.addr, s.port, s.server, s.serverPort, s.first, s.last,
		filepath.Join(logs, "log"), filepath.Join(dir, "ftp-proxy.pid"))
	return []string{b.unpacked("ftp-proxy", "usr/sbin/ftp-proxy"), "-d", "-n", "-f", config}, write(config, text)
}

func suseVersion(b *bench) (string, error) {
	return firstLine(b.unpacked("ftp-proxy", "usr/sbin/ftp-proxy"), "-V")
}

const modProxyConfig = `%sModulePath %s
LoadModule mod_proxy.c
ServerName bench
ServerType standalone
DefaultAddress %s
SocketBindTight on
Port %d
User nobody
Group nogroup
UseReverseDNS off
UseIPv6 off
MaxInstances none
PassivePorts %d %d
TimeoutIdle 0
SystemLog none
TransferLog none
WtmpLog off
AuthPAM off
RequireValidShell off
ScoreboardFile %s
PidFile %s
ProxyEngine on
ProxyRole reverse
ProxyTLSEngine %s
ProxyTables %s
ProxyReverseServers ftp://%s:%d
`

// modProxyModules and modProxyTLS are what TLS adds. Go's choice of AES-128 is
// everybody's; otherwise the server's own order would have AES-256 first.
const (
	modProxyModules = "ModulePath %s\nLoadModule mod_tls.c\n"
	modProxyTLS     = `TLSEngine on
TLSProtocol TLSv1.3
TLSCipherSuite TLSv1.3 TLS_AES_128_GCM_SHA256
TLSECCertificateFile %s
TLSECCertificateKeyFile %s
TLSOptions NoSessionReuseRequired
TLSRenegotiate none
ProxyTLSProtocol TLSv1.3
ProxyTLSVerifyServer off
`
)

func modProxyCommand(b *bench, s settings, dir string) ([]string, error) {
	tables := filepath.Join(dir, "tables")
	if err := os.MkdirAll(tables, 0o777); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "proftpd.conf")
	module := filepath.Dir(b.unpacked("proftpd-mod-proxy", "usr/lib/proftpd/mod_proxy.so"))
	modules, engine, protects := "", "off", ""
	if s.way != inClear {
		modules = fmt.Sprintf(modProxyModules, filepath.Dir(b.unpacked("proftpd-mod-crypto", "usr/lib/proftpd/mod_tls.so")))
		protects = fmt.Sprintf(modProxyTLS, b.cert.file, b.cert.file)
	}
	if s.way == bothSides {
		engine = "on"
	}
	text := fmt.Sprintf(modProxyConfig, modules, module, s.addr, s.port, s.first, s.last,
		filepath.Join(dir, "scoreboard"), filepath.Join(dir, "pid"), engine, tables, s.server, s.serverPort) + protects
	// The module needs this library and leaves it to mod_tls to load it, which
	// would make a key at every login.
	return []string{"env", "LD_PRELOAD=libssl.so.3",
		b.unpacked("proftpd-core", "usr/sbin/proftpd"), "-n", "-q", "-c", config}, write(config, text)
}

func modProxyVersion(b *bench) (string, error) {
	if _, err := os.Stat(b.unpacked("proftpd-mod-proxy", "usr/lib/proftpd/mod_proxy.so")); err != nil {
		return "", err
	}
	return firstLine(b.unpacked("proftpd-core", "usr/sbin/proftpd"), "-v")
}

// unpacked is the path of a package's file, below the folder that peers.sh
// fills, or where the system has it.
func (b *bench) unpacked(pkg, file string) string {
	for _, path := range []string{filepath.Join(b.cache, pkg, file), "/" + file} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return filepath.Join(b.cache, pkg, file)
}

// paths are not part of what a version line tells.
var paths = regexp.MustCompile(`(https?:/)?(^|\s)/\S+|- https?:\S+`)

func firstLine(command string, args ...string) (string, error) {
	out, err := exec.Command(command, args...).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(paths.ReplaceAllString(line, ""))
		if line != "" && !strings.Contains(line, "no version information") {
			return line, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("no version")
	}
	return "", err
}

func write(name, text string) error { return os.WriteFile(name, []byte(text), 0o644) }
