package runtime

import "net/netip"

// firstAddress is the first usable address of a range: in a service range that of the API server.
func firstAddress(cidr string) (string, bool) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return "", false
	}
	return prefix.Masked().Addr().Next().String(), true
}
