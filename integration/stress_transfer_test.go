package integration

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A stressOrder is one transfer that a client wants.
type stressOrder struct {
	verb  string // RETR, LIST or STOR
	file  stressFile
	leg   *stressLeg
	kind  tally // what it is if it is not served: unserved or lateUnserved
	tried bool  // connect was called
	// The rest is known in the end.
	check stressCheck // of what was downloaded
	sent  int         // of what was uploaded
	err   error       // of the data connection
}

func (o *stressOrder) upload() bool { return o.verb == "STOR" }

func (o *stressOrder) line() string { return o.verb + " " + o.file.name() }

func (o *stressOrder) String() string {
	return fmt.Sprintf("%s by %v, now %s", o.line(), o.leg, time.Now().Format("15:04:05.000000"))
}

var stressSizes = []struct{ size, weight int }{{0, 4}, {1, 10}, {31, 30}, {1000, 36}, {64 << 10, 18}, {1 << 20, 2}}

// order is the next transfer of a session, of a random kind and size.
func (c *stressClient) order(l *stressLeg) *stressOrder {
	n := c.rand.IntN(100)
	size := 0
	for _, s := range stressSizes {
		if size = s.size; n < s.weight {
			break
		}
		n -= s.weight
	}
	return c.orderOf(l, size)
}

func (c *stressClient) orderOf(l *stressLeg, size int) *stressOrder {
	verbs := []string{"RETR", "RETR", "RETR", "RETR", "STOR", "STOR", "STOR", "STOR", "STOR", "LIST"}
	c.seq++
	f := stressFile{session: c.session, seq: c.seq, size: size}
	return &stressOrder{
		verb: verbs[c.rand.IntN(len(verbs))], file: f, leg: l, kind: unserved,
		check: stressCheck{file: f},
	}
}

// connect opens the order's data connection, where that is the client's part. A client
// that fails tries once more after a moment, and then goes on without one. It is safe
// to repeat.
func (c *stressClient) connect(o *stressOrder) {
	if o.tried || o.leg.listen != nil {
		return
	}
	o.tried = true
	err := o.leg.open(c)
	if err == nil {
		return
	}
	if since := time.Since(o.leg.told); since < promised {
		c.blame(o.kind, "%v: %v after %v", o, err, since.Round(time.Millisecond))
	}
	if c.oneIn(2) {
		return
	}
	c.pause(c.upTo(100 * time.Millisecond))
	_ = o.leg.open(c) // Then it is served late, or not at all: that is counted already.
}

// stressMoment is how long data may still be on its way when 226 is there already, and
// how long a client waits for the end of a data connection that was refused.
const stressMoment = 10 * time.Second

// finish does the transfer once its command is accepted, reads the final reply and
// judges both. The data connection is open, unless that has failed.
func (c *stressClient) finish(o *stressOrder) error {
	moved := c.move(o)
	code, text, err := c.reply()
	c.await(o, moved, code)
	c.judge(o, code, text)
	return err
}

// move moves the data, in active mode over the connection that comes.
func (c *stressClient) move(o *stressOrder) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if o.leg.listen != nil {
			if o.err = o.leg.open(c); o.err != nil {
				return
			}
		}
		switch conn := o.leg.conn; {
		case conn == nil:
			o.err = errors.New("not connected")
		case !o.upload():
			_, o.err = io.CopyBuffer(struct{ io.Writer }{&o.check}, struct{ io.Reader }{conn}, make([]byte, 32<<10))
		default:
			if o.err = send(conn, o.file, o.file.size); o.err == nil {
				o.sent = o.file.size
				o.err = finish(conn)
			}
		}
	}()
	return done
}

// await waits for the end of the data connection, which 226 says was there. Otherwise
// what has arrived is looked at.
func (c *stressClient) await(o *stressOrder, moved <-chan struct{}, code int) {
	limit := stressMoment
	if code/100 != 2 {
		limit = 100 * time.Millisecond
	}
	o.leg.within(limit)
	<-moved
	o.leg.close(c)
}

// judge compares the two ends of a transfer. code is 0 where no final reply came.
func (c *stressClient) judge(o *stressOrder, code int, text string) {
	if c.foreign(o); o.check.foreign != "" {
		return
	}
	whole, story := c.bothEnds(o)
	switch {
	case whole && code/100 == 2:
		c.add(transferred)
	case code/100 == 2:
		c.blame(falselyDone, "%v: %d %s, but %s", o, code, text, story)
	case code == 0 || code == 421: // Told already.
	case c.haproxy && o.upload() && o.file.size == 0 && code == 426:
		c.add(emptyCut)
	case o.leg.isOpen() || o.leg.listen != nil: // Where it could not connect is told already.
		c.blame(o.kind, "%v: %d %s; %s", o, code, text, story)
	}
}

// foreign counts bytes of another's.
func (c *stressClient) foreign(o *stressOrder) {
	if o.check.foreign != "" {
		c.mismatch(false, "session %06x from %v, %v: %d bytes, %s", c.session, c.bind, o, o.check.n, o.check.foreign)
	}
}

// bothEnds tells whether the file is whole where it was sent to.
func (c *stressClient) bothEnds(o *stressOrder) (bool, string) {
	if !o.upload() {
		story := fmt.Sprintf("%d of %d bytes arrived, %v", o.check.n, o.file.size, o.err)
		return o.leg.isOpen() && o.err == nil && o.check.whole(), story
	}
	r, ok := c.server.takeRecord(o.file.name())
	story := fmt.Sprintf("%d of %d bytes sent (%v), the server has no upload", o.sent, o.file.size, o.err)
	if ok {
		story = fmt.Sprintf("%d of %d bytes sent (%v), the server has %d (%v) %s", o.sent, o.file.size, o.err, r.n, r.err, r.foreign)
	}
	return ok && o.leg.isOpen() && r.err == nil && r.foreign == "" && r.n == o.file.size, story
}

// begin sends the transfer command and reads up to its 1xx. Otherwise the transfer
// is over, and judged.
func (c *stressClient) begin(o *stressOrder) (bool, error) {
	if err := c.send(o.line()); err != nil {
		return false, err
	}
	return c.begun(o)
}

func (c *stressClient) begun(o *stressOrder) (bool, error) {
	code, text, err := c.reply()
	if err != nil || code/100 == 1 {
		return err == nil, err
	}
	if o.leg.isOpen() { // Nothing may come on it.
		o.leg.within(100 * time.Millisecond)
		if !o.upload() {
			_, o.err = io.Copy(&o.check, o.leg.conn)
		}
		if errors.Is(o.err, os.ErrDeadlineExceeded) {
			o.err = nil
		}
	}
	o.leg.close(c)
	c.judge(o, code, text)
	return false, nil
}
