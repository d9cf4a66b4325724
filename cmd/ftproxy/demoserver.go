package main

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"
	"github.com/spf13/afero"
)

// demoInside is the address that the demo's server writes into its replies to
// PASV: one of an inside network, where no client gets an answer.
const demoInside = "10.0.0.5"

// demoPorts are the server's own passive ports. They are below Linux's
// ephemeral range and apart from ftproxy's defaults.
var demoPorts = ftpserver.PortRange{Start: 32000, End: 32099}

// demoStop bounds the wait for the server's last sessions.
const demoStop = 2 * time.Second

var (
	errLogin = errors.New("wrong user or password")
	errNoTLS = errors.New("the demo's server has no certificate")
)

// A demoServer is an FTP server on loopback with its files in memory.
type demoServer struct {
	server   *ftpserver.FtpServer
	listener net.Listener
	files    afero.Fs
	served   chan struct{} // closed when no more clients are accepted

	mu       sync.Mutex
	conns    map[net.Conn]struct{} // control connections
	sessions int                   // not ended yet
	ended    *sync.Cond            // one has
}

// startDemoServer starts a server on a free port of 127.0.0.1.
func startDemoServer() (*demoServer, error) {
	files, err := demoFiles()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &demoServer{
		listener: listener,
		files:    files,
		served:   make(chan struct{}),
		conns:    make(map[net.Conn]struct{}),
	}
	s.ended = sync.NewCond(&s.mu)
	s.server = ftpserver.NewFtpServer(s) // its logger discards
	if err := s.server.Listen(); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	go s.serve()
	return s, nil
}

// demoFiles are what there is to download, and a folder for uploads.
func demoFiles() (afero.Fs, error) {
	files := afero.NewMemMapFs()
	numbers := make([]byte, 1<<20)
	for i := range numbers {
		numbers[i] = "0123456789\n"[i%11]
	}
	var failed []error
	for _, folder := range []string{"/pub", "/upload"} {
		failed = append(failed, files.MkdirAll(folder, 0o755))
	}
	for name, content := range map[string][]byte{
		"/README.txt":      []byte("Download from pub, upload to upload. Nothing here outlives the demo.\n"),
		"/pub/hello.txt":   []byte("Hello from a server that you cannot reach, through ftproxy.\n"),
		"/pub/numbers.txt": numbers,
	} {
		failed = append(failed, afero.WriteFile(files, name, content, 0o644))
	}
	return files, errors.Join(failed...)
}

// Addr is the server's control address.
func (s *demoServer) Addr() netip.AddrPort {
	return s.listener.Addr().(*net.TCPAddr).AddrPort()
}

func (s *demoServer) serve() {
	defer close(s.served)
	_ = s.server.Serve() // It ends when the listener is closed.
}

// Close ends the server and its sessions. It does so by their connections: the
// library's own Stop and Close race with its goroutines.
func (s *demoServer) Close() {
	_ = s.listener.Close()
	<-s.served
	limit := time.Now().Add(demoStop)
	wake := time.AfterFunc(demoStop, s.ended.Broadcast)
	defer wake.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
	for s.sessions > 0 && time.Now().Before(limit) {
		s.ended.Wait()
	}
}

// A demoListener notes the control connections of its server.
type demoListener struct {
	net.Listener
	server *demoServer
}

func (l demoListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	s := l.server
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
	s.sessions++
	return demoConn{c, s}, nil
}

type demoConn struct {
	net.Conn
	server *demoServer
}

func (c demoConn) Close() error {
	s := c.server
	s.mu.Lock()
	delete(s.conns, c.Conn)
	s.mu.Unlock()
	return c.Conn.Close()
}

// GetSettings is asked once, by Listen.
func (s *demoServer) GetSettings() (*ftpserver.Settings, error) {
	return &ftpserver.Settings{
		Listener:                 demoListener{s.listener, s},
		PublicHost:               demoInside,
		PassiveTransferPortRange: demoPorts,
		ActiveTransferPortNon20:  true, // port 20 needs a privilege
	}, nil
}

// ClientConnected returns the greeting.
func (s *demoServer) ClientConnected(ftpserver.ClientContext) (string, error) {
	return "A server on the inside network", nil
}

// ClientDisconnected is called once for every connection, logged in or not.
func (s *demoServer) ClientDisconnected(ftpserver.ClientContext) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions--
	s.ended.Broadcast()
}

// AuthUser gives the one user the one file system.
func (s *demoServer) AuthUser(_ ftpserver.ClientContext, user, password string) (ftpserver.ClientDriver, error) {
	if user != demoUser || password != demoPassword {
		return nil, errLogin
	}
	return s.files, nil
}

// GetTLSConfig makes AUTH TLS fail.
func (s *demoServer) GetTLSConfig() (*tls.Config, error) { return nil, errNoTLS }

// WrapPassiveListener keeps the data ports to this machine: the library
// listens for data on all its addresses.
func (s *demoServer) WrapPassiveListener(l net.Listener) (net.Listener, error) {
	return loopbackListener{l}, nil
}

// A loopbackListener closes connections from elsewhere.
type loopbackListener struct{ net.Listener }

func (l loopbackListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if peer, ok := c.RemoteAddr().(*net.TCPAddr); ok && peer.IP.IsLoopback() {
			return c, nil
		}
		_ = c.Close()
	}
}
