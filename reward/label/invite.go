package label

import (
	"context"

	"github.com/kudos-ml/kudos/dataset/feedback"
)

// Invite returns the link by which a rater enters the pages at base, such as
// "https://example.org:8080". The rater is added if need be. An earlier link of the rater's is no
// longer valid.
func Invite(ctx context.Context, store *feedback.Store, base, rater string) (string, error) {
	if _, err := store.AddRater(ctx, rater); err != nil {
		return "", err
	}
	token, err := store.NewToken(ctx, rater)
	if err != nil {
		return "", err
	}
	return Link(base, token), nil
}

// Link is the link by which whoever has a token enters the pages at base: a rater, or the owner.
func Link(base, token string) string { return base + "/enter#" + token }
