package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// decoderBean matches the bean that docs/apis.md describes as unnecessary for tokens with the type JWT.
var decoderBean = regexp.MustCompile(`(?s)    // Accepts what RFC 9068 describes.*\n    }\n}\n$`)

// apiFiles returns the files of docs/apis.md and spring/Stock.java: the Spring program without the decoder bean. Its
// main starts both programs, because a second JVM would take seconds.
func apiFiles(t *testing.T) map[string]string {
	t.Helper()
	files := documentFiles(t, "../../docs/apis.md")
	program := files["spring/Api.java"]
	stock := decoderBean.ReplaceAllString(program, "}\n")
	for _, change := range [][2]string{
		{"package example;", "package stock;"},
		{"public class Api {", "public class Stock {"},
		{
			"SpringApplication.run(Api.class, args);",
			`SpringApplication.run(Stock.class, "--server.port=" + System.getenv("STOCK_PORT")); example.Api.main(args);`,
		},
	} {
		stock = strings.Replace(stock, change[0], change[1], 1)
		if !strings.Contains(stock, change[1]) {
			t.Fatalf("the Spring program of docs/apis.md does not have %s", change[0])
		}
	}
	if strings.Contains(stock, "@Bean\n    JwtDecoder") || len(stock) >= len(program) {
		t.Fatal("docs/apis.md has no decoder bean to leave out")
	}
	files["spring/Stock.java"] = stock
	return files
}

// stockAPIRequests lets the tokens of the API have the type JWT and the algorithm RS256 from now on, and returns
// requests to the Spring program without the decoder bean. atJWT is an access token that was issued before.
func stockAPIRequests(t *testing.T, i *testIssuer, audience, atJWT string) []apiRequest {
	t.Helper()
	storagetest.Must(t, i.Store.UpdateResource(t.Context(), audience, func(r *storage.Resource) error {
		r.TokenTyp, r.TokenAlg = "JWT", "RS256"
		return nil
	}))
	i.User("alice")
	idToken := i.Tokens(i.RelyingParty(), "alice", "scope", "openid").Text("id_token")
	now := time.Now().Unix()
	signed := func(aud string) string {
		return "Bearer " + i.sign(t, "JWT", map[string]any{
			"iss": i.Issuer, "aud": aud, "sub": "subject", "iat": now, "exp": now + 600, "scope": "notes.read",
		})
	}
	return []apiRequest{
		{"an access token with the type JWT", "Bearer " + i.ServiceToken(i.Service("notes.read")), 200, ""},
		{"another scope", "Bearer " + i.ServiceToken(i.Service("notes.write")), 403, insufficientScope},
		{"another algorithm", signed(audience), 200, ""},
		{"a token for another API", signed("https://other.example.com"), 401, invalidToken},
		{"an ID token", "Bearer " + idToken, 401, invalidToken},
		{"an access token with the type at+jwt", "Bearer " + atJWT, 401, invalidToken},
	}
}
