package lockout

import "net/netip"

// addresses is a set of IP addresses: those of in without those of not. The zero value is empty.
type addresses struct {
	in, not []netip.Prefix
}

var (
	anyIPv4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	anyIPv6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

// contains reports whether outer holds all addresses of inner.
func contains(outer, inner netip.Prefix) bool {
	return outer.Addr().Is4() == inner.Addr().Is4() && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// covered reports whether the prefixes hold all addresses of p together.
func covered(p netip.Prefix, prefixes []netip.Prefix) bool {
	overlap := false
	for _, q := range prefixes {
		if contains(q, p) {
			return true
		}
		overlap = overlap || contains(p, q)
	}
	if !overlap {
		return false
	}
	low, high := halves(p)
	return covered(low, prefixes) && covered(high, prefixes)
}

// halves splits a prefix; only one that something smaller lies in is ever split.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits() + 1
	addr := p.Masked().Addr()
	bytes := addr.As16()
	i := p.Bits()
	if addr.Is4() {
		i += 96
	}
	bytes[i/8] |= 0x80 >> (i % 8)
	other := netip.AddrFrom16(bytes)
	if addr.Is4() {
		other = other.Unmap()
	}
	return netip.PrefixFrom(addr, bits), netip.PrefixFrom(other, bits)
}

// common is the part that two prefixes share.
func common(a, b netip.Prefix) (netip.Prefix, bool) {
	switch {
	case contains(a, b):
		return b, true
	case contains(b, a):
		return a, true
	}
	return netip.Prefix{}, false
}

// all reports whether the block, without its exceptions, holds every address of the set.
func (a addresses) all(block netip.Prefix, except []netip.Prefix) bool {
	for _, p := range a.in {
		if covered(p, a.not) {
			continue
		}
		if !covered(p, append([]netip.Prefix{block}, a.not...)) {
			return false
		}
		for _, e := range except {
			if shared, ok := common(p, e); ok && !covered(shared, a.not) {
				return false
			}
		}
	}
	return len(a.in) > 0
}

// some reports whether the block, without its exceptions, holds an address of the set.
func (a addresses) some(block netip.Prefix, except []netip.Prefix) bool {
	for _, p := range a.in {
		shared, ok := common(p, block)
		if !ok {
			continue
		}
		gone := a.not
		if len(except) > 0 {
			gone = append(append([]netip.Prefix{}, a.not...), except...)
		}
		if !covered(shared, gone) {
			return true
		}
	}
	return false
}
