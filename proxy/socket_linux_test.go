package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ftproxy/internal/ftp"
)

var payload = bytes.Repeat([]byte("ftproxy moves bytes.\n"), 50_000)

func TestDownload(t *testing.T) {
	bothModes(t, func(t *testing.T, mode string) {
		th := play(t, nil)
		client, server := th.open(mode, "RETR f")
		go func() {
			_, _ = server.Write(payload)
			_ = server.CloseWrite()
		}()
		wantData(t, "client", client, payload)
		_ = client.Close()
		th.server.say("226 done")
		th.client.hear("226 done")
		th.wantLog(`"result":"ok"`, fmt.Sprintf(`"bytes":%d`, len(payload)), `"direction":"download"`)
	})
}

func TestUpload(t *testing.T) {
	bothModes(t, func(t *testing.T, mode string) {
		th := play(t, nil)
		client, server := th.open(mode, "STOR f")
		go func() {
			_, _ = client.Write(payload)
			_ = client.CloseWrite()
		}()
		wantData(t, "server", server, payload)
		_ = server.Close()
		th.server.say("226 done")
		th.client.hear("226 done")
		th.wantLog(`"result":"ok"`, fmt.Sprintf(`"bytes":%d`, len(payload)), `"direction":"upload"`)
	})
}

// An upload that the client's reset cut must not look complete to the server
// (H56).
func TestUploadResetByClient(t *testing.T) {
	bothModes(t, func(t *testing.T, mode string) {
		th := play(t, nil)
		client, server := th.open(mode, "STOR f")
		if _, err := client.Write([]byte("half")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(server, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		reset(client)
		wantReset(t, "server", server)
		th.server.say("426 broken")
		th.client.hear("426 broken")
		th.wantLog(`"result":"client"`, `"bytes":4`, `"code":426`)
	})
}

// A server that calls a cut upload complete is not repeated.
func TestUploadResetByClientServerSays226(t *testing.T) {
	th := play(t, nil)
	client, server := th.open("passive", "STOR f")
	reset(client)
	wantReset(t, "server", server)
	th.server.say("226 done")
	th.client.hear("426")
}

func TestDownloadResetByServer(t *testing.T) {
	bothModes(t, func(t *testing.T, mode string) {
		th := play(t, nil)
		client, server := th.open(mode, "RETR f")
		if _, err := server.Write([]byte("half")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		reset(server)
		wantReset(t, "client", client)
		th.server.say("226 done")
		th.client.hear("426")
		th.wantLog(`"result":"server"`, `"bytes":4`, `"code":426`)
	})
}

// A downloading client's reset is seen while the server is silent.
func TestDownloadResetByClient(t *testing.T) {
	bothModes(t, func(t *testing.T, mode string) {
		th := play(t, nil)
		client, server := th.open(mode, "RETR f")
		if _, err := server.Write([]byte("half")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, make([]byte, 4)); err != nil { // The two are joined now.
			t.Fatal(err)
		}
		reset(client)
		wantReset(t, "server", server)
		th.server.say("426 broken")
		th.client.hear("426 broken")
		th.wantLog(`"result":"client"`)
	})
}

// The server has done its part when all is in our buffers; the client has not
// (H12).
func TestFinalReplyWaitsForAcknowledgement(t *testing.T) {
	th := play(t, nil)
	client, server := th.passive()
	_ = client.SetReadBuffer(4096)
	th.begin("RETR f")
	go func() {
		_, _ = server.Write(payload)
		_ = server.CloseWrite()
	}()
	if _, err := io.Copy(io.Discard, server); err != nil { // Our FIN: all was read from the server.
		t.Fatal(err)
	}
	th.server.say("226 done")
	reset(client)
	th.client.hear("426")
	th.wantLog(`"result":"client"`, `"code":426`)
}

// Python's ftplib sends all of ABOR as urgent data: its LF is the urgent byte
// (H32).
func TestUrgentABOR(t *testing.T) {
	th := play(t, nil)
	client, server := th.open("passive", "RETR f")
	sendUrgent(t, th.client.conn, "ABOR\r\n")
	wantReset(t, "client", client)
	wantReset(t, "server", server)
	if err := setOOBInline(th.server.conn); err != nil {
		t.Fatal(err)
	}
	if got := th.server.hear(""); strings.TrimPrefix(got, ftp.TelnetSynch) != "ABOR" {
		t.Errorf("server hears %q", got)
	}
	th.server.say("426 broken")
	th.server.say("226 aborted")
	th.client.hear("426 broken")
	th.client.hear("226 aborted")
	th.client.say("NOOP")
	th.server.hear("NOOP")
}

// STAT may come as urgent data, too (RFC 959 §4.1.3). It does not end at its CR
// as ABOR does, so its LF must not be lost.
func TestUrgentSTAT(t *testing.T) {
	th := play(t, nil)
	th.open("passive", "RETR f")
	sendUrgent(t, th.client.conn, "STAT\r\n")
	th.client.hear("211 ")
}

func sendUrgent(t *testing.T, conn *net.TCPConn, text string) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = unix.Sendto(int(fd), []byte(text), unix.MSG_OOB, nil) }); err != nil || sent != nil {
		t.Fatal(err, sent)
	}
}

func setOOBInline(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
	}); err != nil {
		return err
	}
	return failed
}

// A client that half-closes behind QUIT still gets its answers.
func TestHalfCloseBehindQUIT(t *testing.T) {
	th := play(t, nil)
	th.client.say("NOOP\r\nQUIT")
	_ = th.client.conn.CloseWrite()
	th.server.hear("NOOP")
	th.server.say("200 ok")
	th.server.hear("QUIT")
	th.server.say("221 bye")
	th.client.hear("200")
	th.client.hear("221")
	th.client.hearEnd()
}

// A client that vanishes during a download is ABOR and logout for the server
// (H59).
func TestClientGoneDuringTransfer(t *testing.T) {
	th := play(t, nil)
	client, server := th.open("passive", "RETR f")
	_ = client.Close()
	_ = th.client.conn.Close()
	wantReset(t, "server", server)
	th.wantLog(`"result":"client"`)
	for {
		_ = th.server.conn.SetReadDeadline(time.Now().Add(socketTimeout))
		if _, err := th.server.r.ReadByte(); err != nil {
			break
		}
	}
}

// A data connection whose client does not close it holds nobody up when the
// process is cut.
func TestCutEndsLingering(t *testing.T) {
	th := play(t, nil)
	_, server := th.open("passive", "RETR f") // the client keeps its end open
	_ = server.CloseWrite()
	th.server.say("226 done")
	th.client.hear("226 done")
	cut, cancel := context.WithCancel(context.Background())
	cancel()
	// It is a cut only if the session itself had not ended yet.
	if err := th.process.Shutdown(cut); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
}

// A port that a server has connected to is free again when that connection is
// closed, though the client keeps its own end open.
func TestActiveDownloadGivesPortBack(t *testing.T) {
	th := play(t, nil)
	_, server := th.open("active", "RETR f") // one data port; the client keeps its end
	_ = server.CloseWrite()
	th.server.say("226 done")
	th.client.hear("226 done")
	th.client.say("PORT 127,0,0,1,200,1")
	th.server.hear("PORT ") // It did not have to wait.
}

// A client that leaves its data connections open makes one of ours linger, not
// all of them.
func TestOneTransferLingers(t *testing.T) {
	th := play(t, nil)
	var first *net.TCPConn
	for range 2 {
		client, server := th.open("passive", "RETR f")
		_ = server.CloseWrite()
		th.server.say("226 done")
		th.client.hear("226 done")
		if first == nil {
			first = client
		}
	}
	// What is closed answers data with a reset; what lingers takes it.
	wantData(t, "client", first, nil)
	_ = first.SetDeadline(time.Now().Add(socketTimeout))
	for {
		if _, err := first.Write([]byte("stray")); errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
}
