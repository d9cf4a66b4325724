package proxy

import (
	"fmt"

	"ftproxy/internal/dial"
	"ftproxy/internal/ftp"
)

// greet gives the client the server's greeting, or the banner. Lines without a code that the
// server has sent before its greeting, such as a disclaimer, or right after it, become the greeting's
// first lines: so a client that wants replies only can read them. One that greets with 230 wants no
// login.
func (s *session) greet() {
	greeting := s.server.Greeting
	s.stage = greeted
	if s.server.noLogin = greeting.Code == 230; s.server.noLogin {
		s.stage = loggedIn
	} else {
		s.timers.SetIfUnset(timerLogin, s.rt.timeouts.Login)
	}
	if !s.client.greeted { // Otherwise it has begun anew, after AUTH.
		s.passGreeting(greeting)
	}
	s.client.greeted, s.server.Greeting, s.server.Preface = true, nil, nil
}

func (s *session) passGreeting(greeting *ftp.Reply) {
	if banner := s.fe.banner; banner != "" {
		code := 220
		if s.server.noLogin {
			code = greeting.Code
		}
		s.say(code, banner)
		return
	}
	for _, line := range s.server.Preface {
		if s.mayShow([]byte(line)) {
			s.client.Out = append(s.client.Out, fmt.Sprintf("%d-%s\r\n", greeting.Code, line)...)
		}
	}
	s.client.Out = greeting.AppendLines(s.client.Out)
}

// refuseGreeting is the end of a session that no server has greeted. Where a server has said why, the client
// hears it, without the addresses of our network; also where a banner greets, because the client can do
// nothing about "try again later", but something about "too many connections from your address".
func (s *session) refuseGreeting(cause error) error {
	e := &ending{reason: endNoServer, text: "Service not available, try again later.", cause: cause}
	r := dial.LastRefusal(cause)
	if r == nil || ftp.Class(r.Reply.Code) < 4 {
		return e
	}
	for i, line := range r.Reply.Lines {
		r.Reply.Lines[i] = s.maskInside(line, r.Host, r.Inside)
	}
	s.client.Out = r.Reply.AppendLines(s.client.Out)
	e.text = ""
	return e
}
