package guard

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// OIDC describes an OpenID provider that persons log in at.
type OIDC struct {
	Name         string // on the button; default: the host of the issuer
	Issuer       string // URL
	ClientID     string
	ClientSecret string
	// URL is the address of the monitor as browsers see it, without a path. The provider must
	// know URL + /login/oidc/callback.
	URL    string
	Scopes []string // default: openid profile email
	// RoleClaim is the claim with groups or roles: a text or a list; default: groups. Roles
	// are the roles of its values, Default that of persons with none of them.
	RoleClaim string
	Roles     map[string]Role
	Default   Role
	Client    *http.Client // default: one with a timeout
}

// provider talks to an OpenID provider. It asks for its addresses when they are needed
// first, so that the monitor begins without it.
type provider struct {
	cfg  OIDC
	mine string // key of sessions where the client has no secret

	mu    sync.Mutex
	ready *oidc.Provider
}

func newProvider(cfg OIDC) (*provider, error) {
	issuer, err := url.Parse(cfg.Issuer)
	if err != nil || issuer.Host == "" || issuer.Scheme != "https" && !isLoopback(issuer.Host+":0") && !isLoopback(issuer.Host) {
		return nil, errors.New("MONITOR_OIDC_ISSUER: it is not an https URL")
	}
	if issuer.User != nil {
		return nil, errors.New("MONITOR_OIDC_ISSUER: it has a user name or a password; leave them out")
	}
	own, err := url.Parse(cfg.URL)
	if err != nil || own.Host == "" || own.Scheme != "https" && own.Scheme != "http" || strings.Trim(own.Path, "/") != "" {
		return nil, errors.New("MONITOR_URL: it is not the URL of the monitor, such as https://monitor.example.com")
	}
	if cfg.ClientID == "" {
		return nil, errors.New("MONITOR_OIDC_CLIENT_ID: it is needed with MONITOR_OIDC_ISSUER")
	}
	if cfg.Name == "" {
		cfg.Name = issuer.Host
	}
	if len(cfg.Scopes) == 0 {
		cfg.Scopes = []string{oidc.ScopeOpenID, "profile", "email"}
	}
	if cfg.RoleClaim == "" {
		cfg.RoleClaim = "groups"
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: 10 * time.Second}
	}
	cfg.URL = strings.TrimSuffix(cfg.URL, "/")
	return &provider{cfg: cfg, mine: rand.Text() + rand.Text()}, nil
}

// key is the key of the MAC of sessions of this provider. All else about a client without a
// secret is known to others: its key is one of this process, and its sessions end with it.
func (p *provider) key() string {
	return "oidc " + p.cfg.Issuer + " " + p.cfg.ClientID + " " + cmp.Or(p.cfg.ClientSecret, p.mine)
}

// discover returns the provider with its addresses and keys. Several may ask at once, so that
// no lock is held meanwhile.
func (p *provider) discover() (*oidc.Provider, error) {
	p.mu.Lock()
	ready := p.ready
	p.mu.Unlock()
	if ready != nil {
		return ready, nil
	}
	// The provider keeps this context for its keys: it must not end with a request. The
	// client has a timeout.
	ready, err := oidc.NewProvider(oidc.ClientContext(context.Background(), p.cfg.Client), p.cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("ask the OpenID provider for its addresses: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = ready
	return ready, nil
}

// TryProvider asks the OpenID provider for its addresses, and logs a warning where that fails: a
// wrong issuer is known before the first login. The monitor goes on without the provider.
func (g *Guard) TryProvider(ctx context.Context) {
	if g.provider == nil {
		return
	}
	issuer := g.provider.cfg.Issuer
	_, err := oidc.NewProvider(oidc.ClientContext(ctx, g.provider.cfg.Client), issuer)
	if err != nil && ctx.Err() == nil {
		g.cfg.Log.Warn("OpenID provider cannot be used, logins fail until it can: see MONITOR_OIDC_ISSUER", "issuer", issuer, "error", clean(err.Error()))
	}
}

// forget makes the next login ask for the addresses again: the provider may have other ones,
// or sign in another way, since it was asked.
func (p *provider) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = nil
}

func (p *provider) oauth(ready *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: ready.Endpoint(),
		RedirectURL: p.cfg.URL + "/login/oidc/callback", Scopes: p.cfg.Scopes,
	}
}

// oidcLogin finishes a login with the code that the provider gave.
func (g *Guard) oidcLogin(r *http.Request, f flow) (Actor, error) {
	q := r.URL.Query()
	if len(f) != 52 || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(f.state())) != 1 {
		return Actor{}, errState
	}
	if fault := q.Get("error"); fault != "" {
		return Actor{}, fmt.Errorf("%w %.100q", errDenied, fault)
	}
	p := g.provider
	ready, err := p.discover()
	if err != nil {
		return Actor{}, err
	}
	ctx := oidc.ClientContext(r.Context(), p.cfg.Client)
	token, err := p.oauth(ready).Exchange(ctx, q.Get("code"), oauth2.VerifierOption(f.verifier()))
	if err != nil {
		if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
			return Actor{}, codeFault(refused)
		}
		return Actor{}, fmt.Errorf("exchange the code: %w", err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := ready.Verifier(&oidc.Config{ClientID: p.cfg.ClientID, Now: g.cfg.Now}).Verify(ctx, raw)
	if expired, ok := errors.AsType[*oidc.TokenExpiredError](err); ok {
		return Actor{}, fmt.Errorf("the token expired at %s, and it is %s here: compare the clocks", expired.Expiry.UTC().Format(time.RFC3339), g.cfg.Now().UTC().Format(time.RFC3339))
	}
	if err != nil {
		return Actor{}, fmt.Errorf("check the token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(f.nonce())) != 1 {
		return Actor{}, errors.New("the nonce is not the one of this browser")
	}
	var claims map[string]json.RawMessage
	if err := id.Claims(&claims); err != nil {
		return Actor{}, fmt.Errorf("read the claims: %w", err)
	}
	if ready.UserInfoEndpoint() != "" && p.lacks(claims) {
		err := addUserInfo(ctx, ready, token, id.Subject, claims)
		if errors.Is(err, errAnotherUser) {
			return Actor{}, err
		}
		if err != nil { // the token may be enough
			g.cfg.Log.Warn("userinfo endpoint of the OpenID provider cannot be used", "error", clean(err.Error()))
		}
	}
	a := p.actor(id.Subject, claims)
	if a.Role < Viewer {
		// Their names stay out of the log: another claim than the meant one may have anything.
		g.cfg.Log.Warn("login to the monitor refused: no role", "user", a.Name, "claim", p.cfg.RoleClaim, "told", claims[p.cfg.RoleClaim] != nil, "groups", len(p.groups(claims)))
	}
	return a, nil
}

var (
	errAnotherUser = errors.New("the provider answers about another user than the one of the token")
	errCode        = errors.New("the provider refuses the code")
)

// codeFault returns why the provider does not exchange a code, without its body, which may
// have more than an error.
func codeFault(refused *oauth2.RetrieveError) error {
	switch {
	case refused.ErrorCode == "invalid_client" || refused.ErrorCode == "unauthorized_client":
		return fmt.Errorf("the provider does not know the client: %.100q; check MONITOR_OIDC_CLIENT_ID and MONITOR_OIDC_CLIENT_SECRET", refused.ErrorCode)
	case refused.ErrorCode == "" && refused.Response != nil:
		return fmt.Errorf("the provider answers with status %d instead of a token", refused.Response.StatusCode)
	}
	return fmt.Errorf("%w: %.100q", errCode, refused.ErrorCode)
}

// lacks reports whether a token leaves out the groups or each name. With the code flow a
// provider may tell them at its userinfo endpoint alone (OpenID Connect Core, section 5.4).
func (p *provider) lacks(claims map[string]json.RawMessage) bool {
	return claims[p.cfg.RoleClaim] == nil || claims["email"] == nil && claims["preferred_username"] == nil
}

// addUserInfo asks the userinfo endpoint, and adds the claims that the token does not have.
func addUserInfo(ctx context.Context, ready *oidc.Provider, token *oauth2.Token, subject string, claims map[string]json.RawMessage) error {
	info, err := ready.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return fmt.Errorf("ask the provider about the user: %w", err)
	}
	if info.Subject != subject {
		return errAnotherUser
	}
	var more map[string]json.RawMessage
	if err := info.Claims(&more); err != nil {
		return fmt.Errorf("read what the provider tells about the user: %w", err)
	}
	_, named := claims["email"]
	if !named {
		delete(claims, "email_verified") // it is about no address
	}
	for name, value := range more {
		if name == "email_verified" && named {
			continue // it is about the address here, which may be another one
		}
		if _, ok := claims[name]; !ok {
			claims[name] = value
		}
	}
	return nil
}

// actor returns the actor of claims. An address that the provider did not verify is no name.
func (p *provider) actor(subject string, claims map[string]json.RawMessage) Actor {
	text := func(name string) (s string) {
		_ = json.Unmarshal(claims[name], &s)
		return s
	}
	var verified bool
	_ = json.Unmarshal(claims["email_verified"], &verified)
	candidates := []string{text("preferred_username")}
	if verified {
		candidates = []string{text("email"), candidates[0]}
	}
	name := subject
	for _, candidate := range candidates {
		if CheckName(candidate) == nil {
			name = candidate
			break
		}
	}
	if CheckName(name) != nil {
		sum := sha256.Sum256([]byte(subject))
		name = "oidc-" + base64.RawURLEncoding.EncodeToString(sum[:9])
	}
	return Actor{Name: name, By: ByOIDC, Role: roleOf(p.groups(claims), p.cfg.Roles, p.cfg.Default)}
}

// groups returns the groups of claims: a list, or a text with spaces between them.
func (p *provider) groups(claims map[string]json.RawMessage) (list []string) {
	raw := claims[p.cfg.RoleClaim]
	if json.Unmarshal(raw, &list) == nil {
		return list
	}
	var text string
	_ = json.Unmarshal(raw, &text)
	return strings.Fields(text)
}

// clean makes a text of others fit for a log.
func clean(text string) string {
	const most = 300
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x206f {
			return '?'
		}
		return r
	}, text)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
