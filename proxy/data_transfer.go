package proxy

import (
	"errors"

	"ftproxy/internal/identify"
	"ftproxy/internal/report"
	"ftproxy/internal/tcp"
	"ftproxy/internal/transfer"
)

// How a transfer starts: on an agreement with the server, and then for a command.

// startTransfer begins the transfer of a setup whose server has agreed. It takes over
// the server's leg and the ports of the setup.
func (s *session) startTransfer(st *setup, server transfer.Leg, verb string) *transfer.Transfer {
	timeouts := &s.rt.timeouts
	return transfer.Start(transfer.Options{
		Client: s.clientLeg(st), Server: server,
		ClientTLS: s.clientProtection(), ServerTLS: s.serverProtection(),
		Modes:     transfer.Modes{Client: st.client, Server: verb},
		Mistaken:  st.refused,
		Timeouts:  transfer.Timeouts{DataConnect: timeouts.DataConnect, DataStall: timeouts.DataStall, Linger: timeouts.Linger},
		Bandwidth: s.data.bandwidth,
		Runner:    &s.p.runner,
	})
}

// doTransfer starts a transfer on the data connection that was agreed on.
func (s *session) doTransfer(q *queued) error {
	if err := s.mayTransfer(); err != nil {
		return err
	}
	if s.data.next == nil {
		return s.askWithoutData(q)
	}
	if r := s.data.next.Over(); r != nil {
		s.data.next, s.data.givenUp = nil, true
		s.timers.Clear(timerUnused)
		s.log.Often(report.DataLost).Err(r.Err).Masked("user", s.user).Verb(q.Verb).Msg(report.DataLost.Message)
		if errors.Is(r.Err, identify.ErrNotReused) {
			return refuse(522, textNotReused, r.Err)
		}
		return refuse(425, textNoConnect, r.Err)
	}
	ex, err := s.send(q.Command, &exchange{owed: true})
	if err != nil {
		return err
	}
	s.begin(ex, verbs[q.Verb].direction, s.log.Show(q.Arg))
	return s.abortIfQueued()
}

// begin makes the data connection that was agreed on the one of ex.
func (s *session) begin(ex *exchange, direction transfer.Direction, path masked) {
	s.data.delivery = &delivery{transfer: s.data.next, direction: direction, verb: ex.verb, path: path}
	ex.delivery = s.data.delivery
	s.data.next = nil
	s.timers.Clear(timerUnused)
	s.timers.Set(timerRefused, s.rt.timeouts.DataConnect)
}

// letFlow lets the data flow: the server has said yes.
func (s *session) letFlow(d *delivery, announced bool) {
	d.accepted = true
	s.timers.Clear(timerRefused)
	d.transfer.Accept(d.direction, announced)
	d.counted = s.p.metrics.TransferStarted(d.direction.String(), d.transfer.Bytes)
}

// record is all that is told of a delivery that has ended with code.
func (s *session) record(d *delivery, code int) transfer.Record {
	return transfer.Record{
		Session:    s.log.Name,
		Client:     s.ClientAddr,
		Server:     s.server.Addr,
		Frontend:   s.fe.name,
		Backend:    s.backend.Name,
		User:       string(s.user),
		Verb:       string(secretVerbs.Show(d.verb, s.secrets.Load())),
		Path:       string(d.path),
		Direction:  d.direction,
		Modes:      d.transfer.Modes(),
		Accepted:   d.accepted,
		Code:       code,
		Outcome:    d.known().Outcome(code),
		ClientGone: s.client.Ended || tcp.Ended(s.client.Conn),
		Result:     *d.result,
	}
}

// tell gives a record to all who want it.
func (s *session) tell(d *delivery, r *transfer.Record) {
	if r.Accepted { // So it was counted as started.
		s.p.metrics.TransferEnded(d.counted, r.Outcome, r.Bytes)
	}
	s.log.Transfer(r)
}
