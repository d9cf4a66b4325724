package portpool

import "net/netip"

// An index files things under networks, and finds those whose network overlaps
// another. Almost all networks are single addresses, so it looks up the network
// once for each prefix length that it holds.
type index[T any] struct {
	cells   map[netip.Prefix]T
	lengths []length
}

type length struct {
	ipv4 bool
	bits int
	n    int // of cells
}

func (x *index[T]) at(n netip.Prefix) (T, bool) {
	v, ok := x.cells[n]
	return v, ok
}

// put files v under n, where nothing is yet.
func (x *index[T]) put(n netip.Prefix, v T) {
	if x.cells == nil {
		x.cells = make(map[netip.Prefix]T)
	}
	x.cells[n] = v
	for i := range x.lengths {
		if l := &x.lengths[i]; l.ipv4 == n.Addr().Is4() && l.bits == n.Bits() {
			l.n++
			return
		}
	}
	x.lengths = append(x.lengths, length{n.Addr().Is4(), n.Bits(), 1})
}

// remove forgets what is filed under n.
func (x *index[T]) remove(n netip.Prefix) {
	delete(x.cells, n)
	for i := range x.lengths {
		if l := &x.lengths[i]; l.ipv4 == n.Addr().Is4() && l.bits == n.Bits() {
			if l.n--; l.n == 0 {
				x.lengths = append(x.lengths[:i], x.lengths[i+1:]...)
			}
			return
		}
	}
}

// overlapping calls do for what is filed under networks that overlap n, until
// it returns false, and returns what it did last.
func (x *index[T]) overlapping(n netip.Prefix, do func(T) bool) bool {
	longer := false
	for _, l := range x.lengths {
		switch {
		case l.ipv4 != n.Addr().Is4():
		case l.bits > n.Bits():
			longer = true
		default:
			if v, ok := x.cells[netip.PrefixFrom(n.Addr(), l.bits).Masked()]; ok && !do(v) {
				return false
			}
		}
	}
	if longer {
		for o, v := range x.cells {
			if o.Bits() > n.Bits() && n.Contains(o.Addr()) && !do(v) {
				return false
			}
		}
	}
	return true
}

// containing calls do for what is filed under networks that contain addr.
func (x *index[T]) containing(addr netip.Addr, do func(T) bool) bool {
	if !addr.IsValid() {
		return true
	}
	return x.overlapping(netip.PrefixFrom(addr, addr.BitLen()), do)
}
