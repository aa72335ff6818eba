package kind

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// libraries adds dynamically linked programs of this Debian machine to a layer, with every library
// that they load.
func (l layer) libraries(ctx context.Context, programs ...string) error {
	for _, p := range programs {
		target, err := filepath.EvalSymlinks(p)
		if err != nil {
			return err
		}
		l.add(target, target, 0o755)
		if target != p {
			l.symlink(p, target)
		}
		if err := l.needs(ctx, target); err != nil {
			return err
		}
	}
	return nil
}

// needs adds the libraries of one program or library.
func (l layer) needs(ctx context.Context, program string) error {
	out, err := exec.CommandContext(ctx, "ldd", program).Output()
	if err != nil {
		return fmt.Errorf("ldd %s: %w", program, err)
	}
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		for _, word := range strings.Fields(s.Text()) {
			if !strings.HasPrefix(word, "/") {
				continue
			}
			if _, ok := l[word]; ok {
				continue
			}
			target, err := filepath.EvalSymlinks(word)
			if err != nil {
				return err
			}
			// Under the name that the loader asks for.
			l.add(word, target, 0o755)
		}
	}
	return nil
}

// xtables is where Debian has the plug-ins of iptables.
const xtables = "/usr/lib/x86_64-linux-gnu/xtables"

// netfilter adds iptables, ip6tables, nft, ipset and conntrack, with the plug-ins that they load by
// name and what those need in turn.
func (l layer) netfilter(ctx context.Context) error {
	if err := l.libraries(ctx, "/usr/sbin/xtables-nft-multi", "/usr/sbin/xtables-legacy-multi", "/usr/sbin/nft",
		"/usr/sbin/ipset", "/usr/sbin/conntrack"); err != nil {
		return err
	}
	if err := l.tree(xtables, xtables); err != nil {
		return err
	}
	plugins, err := filepath.Glob(xtables + "/*.so")
	if err != nil {
		return err
	}
	for _, p := range plugins {
		if err := l.needs(ctx, p); err != nil {
			return err
		}
	}
	for _, b := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			l.symlink("/usr/sbin/"+b+suffix, "xtables-nft-multi")
			l.symlink("/usr/sbin/"+b+"-nft"+suffix, "xtables-nft-multi")
			l.symlink("/usr/sbin/"+b+"-legacy"+suffix, "xtables-legacy-multi")
		}
	}
	for _, f := range []string{"/etc/protocols", "/etc/ethertypes"} {
		if target, err := filepath.EvalSymlinks(f); err == nil {
			l.add(f, target, 0o644)
		}
	}
	l.dir("/run", 0o755)
	return nil
}
