//go:build linux

package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
)

// relay is the floor: a program that knows no FTP and takes every connection to
// the same port of another address. Data is spliced by io.Copy, through pipes of
// 1 MiB; control connections, which would hold two such pipes each, are read and
// written.
func relay(args []string) error {
	flags := flag.NewFlagSet("relay", flag.ContinueOnError)
	listen := flags.String("listen", "", "address")
	control := flags.Int("control", 0, "port to listen on for -server")
	server := flags.String("server", "", "address and port of the control connection's other end")
	first := flags.Int("first", 0, "first data port")
	count := flags.Int("count", 0, "number of data ports")
	if err := flags.Parse(args); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(*server)
	if err != nil {
		return err
	}
	for i := range *count {
		port := strconv.Itoa(*first + i)
		l, err := net.Listen("tcp", net.JoinHostPort(*listen, port))
		if err != nil {
			return err
		}
		go carry(l, net.JoinHostPort(host, port), splice)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(*listen, strconv.Itoa(*control)))
	if err != nil {
		return err
	}
	carry(l, *server, readWrite)
	return nil
}

// carry takes every connection of l to an address.
func carry(l net.Listener, to string, move func(to, from net.Conn) error) {
	for {
		near, err := l.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "relay:", err)
			return
		}
		go func() {
			defer near.Close()
			far, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer far.Close()
			var ways sync.WaitGroup
			ways.Go(func() { oneWay(far, near, move) })
			oneWay(near, far, move)
			ways.Wait()
		}()
	}
}

func oneWay(to, from net.Conn, move func(to, from net.Conn) error) {
	if err := move(to, from); err != nil {
		to.Close()
		from.Close()
		return
	}
	if c, ok := to.(*net.TCPConn); ok {
		c.CloseWrite()
	}
}

func splice(to, from net.Conn) error {
	_, err := io.Copy(to, from)
	return err
}

func readWrite(to, from net.Conn) error {
	var line [512]byte
	for {
		n, err := from.Read(line[:])
		if n > 0 {
			if _, err := to.Write(line[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
