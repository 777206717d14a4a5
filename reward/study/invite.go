package study

import (
	"context"

	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/reward/internal/page"
)

// Invite returns the link by which a rater enters the pages at base, such as
// "https://example.org:8080". The rater is added if need be. An earlier link of the rater's is no
// longer valid.
func Invite(ctx context.Context, store *feedback.Store, base, rater string) (string, error) {
	return page.Invite(ctx, store, base, rater)
}

// Link is the link by which whoever has a token enters the pages at base: a rater, or the owner.
func Link(base, token string) string { return page.Link(base, token) }
