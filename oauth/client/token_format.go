package client

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/jwt"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// CheckTokenTyp returns an error unless the access tokens of a resource can have the type.
func CheckTokenTyp(typ string) error {
	if !slices.Contains(accesstoken.Types, typ) {
		return fmt.Errorf("%q is none of %s", typ, strings.Join(accesstoken.Types, ", "))
	}
	return nil
}

// CheckTokenAlg returns an error unless the access tokens of a resource can be signed with the algorithm.
func CheckTokenAlg(algorithm string) error {
	if !slices.Contains(jwt.Algorithms, algorithm) {
		return fmt.Errorf("%q is none of %s", algorithm, strings.Join(jwt.Algorithms, ", "))
	}
	return nil
}

// tokenFormat returns the format of the access tokens that the resource accepts.
func tokenFormat(r storage.Resource) accesstoken.Format {
	f := accesstoken.DefaultFormat
	if r.TokenTyp != "" {
		f.Type = r.TokenTyp
	}
	if r.TokenAlg != "" {
		f.Algorithm = r.TokenAlg
	}
	return f
}

// SameTokenFormat reports whether two resources accept the same access tokens, except for their aud.
func SameTokenFormat(r, other storage.Resource) bool { return tokenFormat(r) == tokenFormat(other) }

// TokenFormat returns the format of an access token with the audience, which is a result of OneFormat or has passed
// CheckOneFormat.
func (g *Registry) TokenFormat(ctx context.Context, audience []string) (accesstoken.Format, error) {
	resources, err := g.store.Resources(ctx)
	if err != nil {
		return accesstoken.Format{}, protocol.UnavailableError(err)
	}
	for _, identifier := range audience {
		if !g.acceptsEveryFormat(resources, identifier) {
			return tokenFormat(resources[identifier]), nil
		}
	}
	return accesstoken.DefaultFormat, nil
}

// acceptsEveryFormat reports whether an audience is this server alone, whose userinfo accepts every format.
func (g *Registry) acceptsEveryFormat(resources map[string]storage.Resource, identifier string) bool {
	_, isResource := resources[identifier]
	return identifier == g.options.Issuer && !isResource
}

// CheckOneFormat returns invalid_target if no single token is one that every API of the audience accepts.
func (g *Registry) CheckOneFormat(ctx context.Context, audience []string) error {
	one, err := g.OneFormat(ctx, audience)
	if err != nil || len(one) == len(audience) {
		return err
	}
	return protocol.NewError(protocol.InvalidTarget, "The APIs "+strings.Join(audience, ", ")+
		" accept different kinds of access tokens; request a token for one of them with the parameter resource.")
}

// OneFormat returns the part of an audience that a single token can have: all of it, if every API accepts the same
// format; otherwise the APIs that accept the default format; if there is none, those that accept the format of the
// first.
func (g *Registry) OneFormat(ctx context.Context, audience []string) ([]string, error) {
	if len(audience) < 2 {
		return audience, nil
	}
	resources, err := g.store.Resources(ctx)
	if err != nil {
		return nil, protocol.UnavailableError(err)
	}
	formats := map[accesstoken.Format][]string{}
	var first accesstoken.Format
	for _, identifier := range audience {
		if g.acceptsEveryFormat(resources, identifier) {
			continue
		}
		f := tokenFormat(resources[identifier])
		if len(formats) == 0 {
			first = f
		}
		formats[f] = append(formats[f], identifier)
	}
	if len(formats) < 2 {
		return audience, nil
	}
	chosen := first
	if formats[accesstoken.DefaultFormat] != nil {
		chosen = accesstoken.DefaultFormat
	}
	return slices.DeleteFunc(slices.Clone(audience), func(identifier string) bool {
		return !g.acceptsEveryFormat(resources, identifier) && !slices.Contains(formats[chosen], identifier)
	}), nil
}
