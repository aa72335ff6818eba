package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// maxManifest bounds what is read of an answer; manifests are a few kilobytes.
const maxManifest = 8 << 20

// manifestTypes are what a registry may answer with: an index of several platforms first.
const manifestTypes = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, " +
	"application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"

// registry reads digests by the OCI distribution protocol, anonymously.
type registry struct {
	client *http.Client
	scheme string // "https"
}

// digest is the digest of the manifest that a tag names. It is computed from the manifest itself.
func (r *registry) digest(ctx context.Context, repository, tag string) (string, error) {
	host, path, ok := strings.Cut(repository, "/")
	if !ok {
		return "", fmt.Errorf("%s has no registry", repository)
	}
	if host == "docker.io" {
		host = "registry-1.docker.io"
	}
	address := r.scheme + "://" + host + "/v2/" + path + "/manifests/" + url.PathEscape(tag)
	answer, err := r.get(ctx, address, "")
	if err != nil {
		return "", err
	}
	if answer.status == http.StatusUnauthorized {
		token, err := r.token(ctx, answer.challenge)
		if err != nil {
			return "", fmt.Errorf("%s:%s: %w", repository, tag, err)
		}
		if answer, err = r.get(ctx, address, token); err != nil {
			return "", err
		}
	}
	if answer.status != http.StatusOK {
		return "", fmt.Errorf("%s:%s: the registry answers %d", repository, tag, answer.status)
	}
	sum := sha256.Sum256(answer.body)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	if answer.digest != "" && answer.digest != digest {
		return "", fmt.Errorf("%s:%s: the registry says %s and sends %s", repository, tag, answer.digest, digest)
	}
	return digest, nil
}

type answer struct {
	status            int
	digest, challenge string
	body              []byte
}

func (r *registry) get(ctx context.Context, address, token string) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", manifestTypes)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return &answer{
		status: resp.StatusCode, digest: resp.Header.Get("Docker-Content-Digest"),
		challenge: resp.Header.Get("WWW-Authenticate"), body: body,
	}, nil
}

var parameter = regexp.MustCompile(`(\w+)="([^"]*)"`)

// token gets the token that a challenge asks for; anybody may have it.
func (r *registry) token(ctx context.Context, challenge string) (string, error) {
	values := map[string]string{}
	for _, m := range parameter.FindAllStringSubmatch(challenge, -1) {
		values[m[1]] = m[2]
	}
	if !strings.HasPrefix(challenge, "Bearer ") || !strings.HasPrefix(values["realm"], r.scheme+"://") {
		return "", fmt.Errorf("the registry asks for a log-in: %q", challenge)
	}
	q := url.Values{}
	for _, k := range []string{"service", "scope"} {
		if values[k] != "" {
			q.Set(k, values[k])
		}
	}
	a, err := r.get(ctx, values["realm"]+"?"+q.Encode(), "")
	if err != nil {
		return "", err
	}
	if a.status != http.StatusOK {
		return "", fmt.Errorf("%s answers %d", values["realm"], a.status)
	}
	var t struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(a.body, &t); err != nil {
		return "", fmt.Errorf("%s: %w", values["realm"], err)
	}
	if t.Token == "" {
		t.Token = t.AccessToken
	}
	if t.Token == "" {
		return "", fmt.Errorf("%s gives no token", values["realm"])
	}
	return t.Token, nil
}
