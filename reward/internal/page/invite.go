package page

import (
	"context"

	"github.com/kudos-ml/kudos/dataset/feedback"
)

// Invite makes a token for a rater, who is added if need be, and returns its Link. A rater who has
// a token keeps it, and the result is "", unless there is to be another one: anew.
func Invite(
	ctx context.Context, store *feedback.Store, base, rater string, anew bool,
) (link string, err error) {
	has, err := store.HasToken(ctx, rater)
	if err != nil || has && !anew {
		return "", err
	}
	if _, err := store.AddRater(ctx, rater); err != nil {
		return "", err
	}
	token, err := store.NewToken(ctx, rater)
	if err != nil {
		return "", err
	}
	return Link(base, token), nil
}

// Link is the link by which whoever has a token enters the pages at base.
func Link(base, token string) string { return base + "/enter#" + token }
