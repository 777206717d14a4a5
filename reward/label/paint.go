package label

import (
	"context"
	"fmt"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
)

// Paint writes pictures to a folder, as dataset.WriteFolder does, and adds each to a store as soon
// as it is there, so that it can be labelled while the next is painted. The folder is, or is
// inside, that of the database. Pictures that an earlier call has left there are added first. paint
// yields those that come after so many.
func Paint(
	ctx context.Context, store *feedback.Store, folder string,
	paint func(there int) dataset.Dataset,
) error {
	there, err := dataset.Verify(ctx, folder)
	if err != nil {
		return err
	}
	if _, err := store.Add(ctx, dataset.FromSlice(there), folder); err != nil {
		return err
	}
	for s, err := range paint(len(there)).All(ctx) {
		if err != nil {
			return err
		}
		if s.ID == "" {
			s.ID = fmt.Sprintf("%05d", s.Source.Index)
		}
		one := []dataset.Sample{s}
		if _, err := dataset.WriteFolder(ctx, folder, dataset.FromSlice(one)); err != nil {
			return err
		}
		one[0].File = "samples/" + s.ID + ".png"
		if _, err := store.Add(ctx, dataset.FromSlice(one), folder); err != nil {
			return err
		}
	}
	return nil
}
