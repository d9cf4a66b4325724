package proxy

import (
	"cmp"
	"slices"
	"strings"

	"ftproxy/internal/ftp"
	"ftproxy/rewrite"
)

// A deferred connection: where the server depends on the user, ftproxy greets the client
// and answers what comes before USER, and connects then. The client does not notice: what
// it was told is true of every server that it may get.

// meet greets the client itself where its server depends on the user, and connects to a
// server otherwise.
func (s *session) meet() {
	if !s.backend.byUser {
		s.connect(nil)
		return
	}
	s.stage = greeted
	s.timers.SetIfUnset(timerLogin, s.rt.timeouts.Login)
	if s.client.greeted { // Already, before the PROXY header.
		return
	}
	s.client.greeted = true
	s.say(220, cmp.Or(s.fe.banner, "Service ready."))
}

// doDeferred answers a command while there is no server yet.
func (s *session) doDeferred(q *queued, v verb) error {
	switch {
	case q.Verb == "USER":
		s.client.chosenBy = string(q.Arg)
		s.stage = connecting
		first := append(s.client.replay, &queued{Command: q.Command.Clone(), fill: q.fill})
		s.client.queue, s.client.replay = append(first, s.client.queue...), nil
		s.connect(nil)
		return nil
	case v.class == classSecurity:
		return v.do(s, q)
	case v.has(kept) && s.offers(q):
		return s.keepForServer(q)
	}
	return s.answerDeferred(q)
}

// answerDeferred answers what no server needs to hear of.
func (s *session) answerDeferred(q *queued) error {
	if q.Verb == "FEAT" {
		lines := []string{"211-Features:"}
		for _, feature := range s.p.servers.Features(s.backend.Name) {
			lines = append(lines, " "+feature)
		}
		lines = rewrite.EditFEAT(append(lines, "211 End"), dropFeature, s.features())
		s.client.Out = ftp.Reply{Code: 211, Lines: lines}.AppendLines(s.client.Out)
		return nil
	}
	code, text := ftp.AnswerWithoutServer(q.Verb)
	if q.Verb == "QUIT" {
		s.say(code, text)
		return &ending{reason: endQuit}
	}
	return s.answer(code, text)
}

// maxReplay is how many commands are kept for the server.
const maxReplay = 8

// keepForServer answers a command that every server knows, and that it hears before USER.
func (s *session) keepForServer(q *queued) error {
	if len(s.client.replay) == maxReplay {
		return s.answerDeferred(q)
	}
	s.client.replay = append(s.client.replay, &queued{Command: q.Command.Clone(), replayed: true})
	s.say(200, q.Verb+" command successful.")
	return nil
}

// offers tells whether every server of the backend was seen to have what a command asks for.
func (s *session) offers(q *queued) bool {
	name := q.Verb
	if name == "OPTS" { // It names a feature.
		name = firstWord(string(q.Arg))
	}
	return slices.ContainsFunc(s.p.servers.Features(s.backend.Name), func(feature string) bool {
		return strings.EqualFold(firstWord(feature), name)
	})
}

func firstWord(text string) string {
	word, _, _ := strings.Cut(text, " ")
	return word
}
