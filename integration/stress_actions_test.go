package integration

import (
	"errors"
	"io"
	"os"
	"time"
)

// What a client does, from the end of one thing to the end of the next. All of them
// are honest: who asks for another data connection, or goes, has closed the one before.

// A stressAction returns errOver if the session has ended with it.
type stressAction struct {
	name   string
	weight int
	do     func(*stressClient) error
}

// act does one of them at random.
func (c *stressClient) act(mix []stressAction) {
	sum := 0
	for _, a := range mix {
		sum += a.weight
	}
	n := c.rand.IntN(sum)
	for _, a := range mix {
		if n -= a.weight; n >= 0 {
			continue
		}
		if c.raw == nil && c.logIn() != nil {
			c.pause(100 * time.Millisecond)
			return
		}
		err := a.do(c)
		c.last = a.name
		if err != nil && c.raw != nil {
			c.end(false)
		}
		return
	}
}

// prompt is what most clients do: connect at once, then say what to transfer.
func prompt(c *stressClient) error {
	l, err := c.agree()
	if l == nil {
		return err
	}
	return c.transfer(c.order(l), c.oneIn(4))
}

// afterReply connects only after 150.
func afterReply(c *stressClient) error {
	l, err := c.agree()
	if l == nil {
		return err
	}
	return c.transfer(c.order(l), true)
}

// transfer does an order: the client connects before the command, or after 150.
func (c *stressClient) transfer(o *stressOrder, after bool) error {
	defer o.leg.close(c)
	if !after && o.leg.listen == nil {
		c.connect(o)
		if !o.leg.isOpen() { // It gives up, and asks again.
			return nil
		}
	}
	if ok, err := c.begin(o); !ok {
		return err
	}
	c.connect(o)
	return c.finish(o)
}

// late connects after a while: before it says what to transfer, or after that.
func late(c *stressClient) error {
	l, err := c.agree()
	if l == nil {
		return err
	}
	defer l.close(c)
	o := c.order(l)
	o.kind = lateUnserved
	wait := c.mostly(3*time.Second, 20*time.Second)
	if c.oneIn(2) {
		if ok, err := c.begin(o); !ok {
			return err
		}
		c.pause(wait)
		c.connect(o)
		return c.finish(o)
	}
	c.pause(wait)
	return c.transfer(o, false)
}

// giveUp closes the data connection right after connecting, or while connecting.
func giveUp(c *stressClient) error {
	l, err := c.agree()
	if l == nil {
		return err
	}
	c.quit(l)
	return nil
}

// giveUpOften does so again and again, until the session has many ports that it did not use.
func giveUpOften(c *stressClient) error {
	for range 1 + c.rand.IntN(8) {
		if err := giveUp(c); err != nil {
			return err
		}
	}
	return nil
}

// giveUp550 asks for a file that is not there before the next PASV.
func giveUp550(c *stressClient) error {
	l, err := c.agree()
	if l == nil {
		return err
	}
	defer l.close(c)
	if l.listen != nil || !c.oneIn(3) {
		c.quit(l)
	} else if err := l.open(c); err != nil {
		c.blame(unserved, "%v: %v", l, err)
	}
	return c.noFile()
}

// quit is how a data connection is given up.
func (c *stressClient) quit(l *stressLeg) {
	c.add(gaveUp)
	defer l.close(c)
	if l.listen != nil {
		return
	}
	how := c.rand.IntN(7)
	if how < 2 {
		if err := l.touch(c, how == 0); err != nil {
			c.blame(unserved, "given up while connecting, %v: %v", l, err)
		}
		return
	}
	if err := l.open(c); err != nil {
		c.blame(unserved, "given up, %v: %v", l, err)
		return
	}
	switch how {
	case 2:
		l.reset(c)
	case 3:
		c.pause(c.upTo(3 * time.Millisecond))
	case 4, 5:
		c.hasten(l)
	}
}

// hasten sends a file before anybody knows its name. Nobody may get its bytes.
func (c *stressClient) hasten(l *stressLeg) {
	l.within(time.Millisecond + c.upTo(20*time.Millisecond)) // A TLS handshake may not be answered.
	_ = send(l.conn, c.orderOf(l, 31).file, 31)
}

// noFile asks for a file that is not there.
func (c *stressClient) noFile() error {
	code, text, err := c.command("RETR none")
	if err != nil {
		return err
	}
	c.add(noFile)
	if code/100 < 4 {
		c.blame(broken, "RETR none: %d %s", code, text)
	}
	return nil
}

// neverConnects asks for a port, and for another one instead of connecting.
func neverConnects(c *stressClient) error {
	l, err := c.agree()
	if l == nil {
		return err
	}
	c.add(gaveUp)
	l.close(c)
	if c.oneIn(2) {
		return c.noFile()
	}
	return nil
}

// uploadNothing gives the data connection up, and then says STOR all the same: after
// a reset, or where it never connected, 226 is false.
func uploadNothing(c *stressClient) error {
	l, err := c.agree()
	if l == nil {
		return err
	}
	defer l.close(c)
	c.add(gaveUp)
	o := c.orderOf(l, 1000)
	o.verb = "STOR"
	closed := false
	if l.listen == nil {
		if err := l.open(c); err != nil {
			c.blame(unserved, "%v: %v", o, err)
		} else if closed = c.tls == nil && c.oneIn(2); closed {
			l.close(c) // An upload of no bytes, and no fault.
		} else {
			l.reset(c)
		}
	} else {
		l.close(c)
	}
	code, text, err := c.command(o.line())
	if err == nil && code/100 == 1 {
		code, text, err = c.reply()
	}
	if err != nil {
		return err
	}
	r, ok := c.server.takeRecord(o.file.name())
	if code/100 == 2 && !(ok && closed && r.n == 0 && r.err == nil) {
		c.blame(falselyDone, "%v, given up before: %d %s, the server has %+v", o, code, text, r)
	}
	return nil
}

// again has a transfer refused, and then uses the same data connection for the next.
func again(c *stressClient) error {
	l, err := c.agree()
	if l == nil {
		return err
	}
	defer l.close(c)
	o := c.order(l)
	o.kind = againUnserved
	if c.oneIn(2) {
		c.connect(o)
	}
	if err := c.noFile(); err != nil {
		return err
	}
	return c.transfer(o, c.oneIn(2))
}

// abort says ABOR in the middle of a transfer, and closes the data connection before
// or after it hears of it.
func abort(c *stressClient) error {
	l, err := c.agree()
	if l == nil {
		return err
	}
	defer l.close(c)
	c.add(aborted)
	o := c.orderOf(l, 1<<20)
	connected := !c.oneIn(5)
	if ok, err := c.begin(o); !ok {
		return err
	}
	if connected {
		c.connect(o)
	} else {
		l.close(c) // Otherwise the kernel takes the connection in active mode.
	}
	moved := c.move(o)
	c.pause(c.upTo(3 * time.Millisecond))
	early := !connected || c.oneIn(2)
	if early {
		l.close(c)
	}
	codes, err := c.abor()
	if err != nil {
		c.await(o, moved, 0)
		c.foreign(o)
		return err
	}
	done := len(codes) == 2 && codes[0]/100 == 2
	code := 426
	if done {
		code = codes[0]
	}
	c.await(o, moved, code)
	if c.foreign(o); done && !early && o.check.foreign == "" {
		if whole, story := c.bothEnds(o); !whole {
			c.blame(falselyDone, "%v, ABOR: %d, but %s", o, codes, story)
		}
	}
	c.server.takeRecord(o.file.name())
	return nil
}

// abor says ABOR and returns the codes of the replies before that of a NOOP.
func (c *stressClient) abor() ([]int, error) {
	if err := c.send("ABOR"); err != nil {
		return nil, err
	}
	var codes []int
	for len(codes) < 4 {
		code, _, err := c.reply()
		if err != nil {
			return codes, err
		}
		if code == 200 {
			return codes, nil
		}
		if codes = append(codes, code); len(codes) == 1 {
			if err := c.send("NOOP"); err != nil {
				return codes, err
			}
		}
	}
	c.blame(broken, "ABOR and NOOP: %d", codes)
	return codes, errOver
}

// lose drops the control connection, with FIN or a reset: right after PASV, after the
// data connection is open, or in the middle of a transfer. The next action begins a
// session from the same address.
func lose(c *stressClient) error {
	l, err := c.agree()
	if l == nil {
		return err
	}
	defer func() {
		l.close(c)
		if c.raw != nil {
			c.end(c.oneIn(2))
		}
	}()
	c.add(lost)
	o := c.orderOf(l, 1<<20)
	switch c.rand.IntN(4) {
	case 0:
		return nil
	case 1:
		c.connect(o)
		return nil
	}
	if ok, err := c.begin(o); !ok {
		return err
	}
	c.connect(o)
	moved := c.move(o)
	c.pause(c.upTo(3 * time.Millisecond))
	if c.oneIn(2) {
		l.reset(c)
	} else {
		c.end(c.oneIn(2))
	}
	l.within(c.upTo(100 * time.Millisecond))
	<-moved
	c.foreign(o)
	return nil
}

// stayAway asks for a port and then does nothing for long. It hears 421, or goes, or
// asks for another one, or for a transfer that cannot be.
func stayAway(c *stressClient) error {
	l, err := c.agree()
	if l == nil {
		return err
	}
	defer l.close(c)
	c.add(silent)
	if over, err := c.listenFor(c.mostly(5*time.Second, 45*time.Second)); over {
		return err
	}
	switch c.rand.IntN(4) {
	case 0:
		c.end(true)
	case 1:
		_, _, err := c.command("QUIT")
		c.end(false)
		return err
	case 2:
		l.close(c) // Otherwise the kernel takes the connection in active mode.
		o := c.orderOf(l, 1000)
		code, text, err := c.command(o.line())
		if err == nil && code/100 == 1 {
			code, text, err = c.reply()
		}
		if err == nil && code/100 == 2 {
			c.blame(falselyDone, "%v, without a data connection: %d %s", o, code, text)
		}
		return err
	}
	return nil
}

// listenFor waits, and hears when ftproxy ends the session.
func (c *stressClient) listenFor(d time.Duration) (over bool, err error) {
	if end, ok := c.stop.Deadline(); ok {
		d = min(d, max(time.Until(end), 0))
	}
	c.raw.SetReadDeadline(time.Now().Add(d))
	code, text, err := c.raw.reply()
	switch {
	case err != nil && errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
	case err != nil && c.cut.Err() == nil && !errors.Is(err, io.EOF):
		return true, c.gone(err)
	case err != nil:
		c.end(false)
		return true, errOver
	case code == 421:
		c.add(said421)
	default:
		c.blame(broken, "unsolicited: %d %s", code, text)
	}
	c.end(false)
	return true, errOver
}

// pipeline sends PASV, the transfer command and NOOP in one segment, or parts of that.
func pipeline(c *stressClient) error {
	l, line, err := c.proposal()
	if err != nil {
		return err
	}
	defer l.close(c)
	o := c.order(l)
	lines := []string{"NOOP", line}
	all := c.oneIn(2)
	if all {
		lines = append(lines, o.line(), "NOOP")
	}
	if err := c.send(lines...); err != nil {
		return err
	}
	if err := c.wantReply(200); err != nil {
		return err
	}
	agreed, err := c.agreed(l)
	if err != nil {
		return err
	}
	if agreed == nil {
		if !all {
			return nil
		}
		if code, text, err := c.reply(); err != nil || code/100 < 4 {
			if err == nil {
				c.blame(broken, "%s without a port: %d %s", o.line(), code, text)
			}
			return errOver
		}
		return c.wantReply(200)
	}
	if !all {
		c.connect(o)
		if err := c.send(o.line(), "NOOP"); err != nil {
			return err
		}
		ok, err := c.begun(o)
		return c.finishPipeline(o, ok, err)
	}
	if c.oneIn(2) {
		c.connect(o)
	}
	ok, err := c.begun(o)
	return c.finishPipeline(o, ok, err)
}

func (c *stressClient) finishPipeline(o *stressOrder, begun bool, err error) error {
	if err != nil {
		return err
	}
	if begun {
		c.connect(o)
		if err := c.finish(o); err != nil {
			return err
		}
	}
	return c.wantReply(200)
}

func (c *stressClient) wantReply(want int) error {
	code, text, err := c.reply()
	if err == nil && code != want {
		c.blame(broken, "pipeline: %d %s, want %d", code, text, want)
		err = errOver
	}
	return err
}
