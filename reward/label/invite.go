package label

import (
	"context"

	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/reward/internal/page"
)

// Invite returns the link by which a rater enters the pages at base, such as
// "https://example.org:8080". The rater is added if need be. Of a rater's links the last alone is
// valid. So a rater who has one keeps it, and the result is "", as the store does not know its own
// tokens. With anew there is another link, and the rater has to enter by that.
func Invite(
	ctx context.Context, store *feedback.Store, base, rater string, anew bool,
) (link string, err error) {
	return page.Invite(ctx, store, base, rater, anew)
}

// Link is the link by which whoever has a token enters the pages at base: a rater, or the owner.
func Link(base, token string) string { return page.Link(base, token) }
