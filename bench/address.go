//go:build linux

package main

import (
	"bytes"
	"strconv"
)

// appendPASV writes an address as RFC 959 has it: six numbers with commas.
func appendPASV(b []byte, addr [4]byte, port int) []byte {
	for _, n := range addr {
		b = append(strconv.AppendInt(b, int64(n), 10), ',')
	}
	b = append(strconv.AppendInt(b, int64(port>>8), 10), ',')
	return strconv.AppendInt(b, int64(port&255), 10)
}

// parsePORT reads six numbers with commas, from the first digit on.
func parsePORT(text []byte) (addr [4]byte, port int, ok bool) {
	var n [6]int
	at := 0
	digits := false
	for _, c := range text {
		switch {
		case c >= '0' && c <= '9':
			n[at] = n[at]*10 + int(c-'0')
			digits = true
			if n[at] > 255 {
				return addr, 0, false
			}
		case c == ',' && digits && at < 5:
			at++
			digits = false
		case digits || at > 0:
			return addr, 0, false
		}
	}
	if at != 5 || !digits {
		return addr, 0, false
	}
	return [4]byte{byte(n[0]), byte(n[1]), byte(n[2]), byte(n[3])}, n[4]<<8 | n[5], true
}

// parseEPRT reads |1|ADDRESS|PORT|.
func parseEPRT(text []byte) (addr [4]byte, port int, ok bool) {
	part := bytes.Split(text, []byte("|"))
	if len(part) != 5 || string(part[1]) != "1" {
		return addr, 0, false
	}
	number := bytes.Split(part[2], []byte("."))
	if len(number) != 4 {
		return addr, 0, false
	}
	for i, n := range number {
		v, err := strconv.ParseUint(string(n), 10, 8)
		if err != nil {
			return addr, 0, false
		}
		addr[i] = byte(v)
	}
	v, err := strconv.ParseUint(string(part[3]), 10, 16)
	return addr, int(v), err == nil
}

// portOf227 reads the port of a 227 reply: the last two of its six numbers.
func portOf227(line []byte) (port int, ok bool) {
	open := bytes.IndexByte(line, '(')
	end := bytes.IndexByte(line, ')')
	if open < 0 || end < open {
		return 0, false
	}
	_, port, ok = parsePORT(line[open+1 : end])
	return port, ok
}
