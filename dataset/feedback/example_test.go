package feedback_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
)

// open makes a store of two pictures in a new folder, and returns what removes it.
func open(ctx context.Context) (*feedback.Store, func()) {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	store, err := feedback.Open(ctx, feedback.Config{Path: filepath.Join(dir, "labels.db")})
	if err != nil {
		log.Fatal(err)
	}
	samples := []dataset.Sample{
		{ID: "1", Prompt: "a dog", File: "dog.png"}, {ID: "2", Prompt: "a cat", File: "cat.png"},
	}
	var black bytes.Buffer
	if err := png.Encode(&black, image.NewGray(image.Rect(0, 0, 8, 8))); err != nil {
		log.Fatal(err)
	}
	for _, s := range samples {
		if err := os.WriteFile(filepath.Join(dir, s.File), black.Bytes(), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	if _, err := store.Add(ctx, dataset.FromSlice(samples), ""); err != nil {
		log.Fatal(err)
	}
	return store, func() {
		if err := store.Close(); err != nil {
			log.Fatal(err)
		}
		os.RemoveAll(dir)
	}
}

// judge keeps judgements, a rater's of a picture each.
func judge(ctx context.Context, store *feedback.Store, rater, picture string, l dataset.Label) {
	if _, err := store.AddRater(ctx, rater); err != nil {
		log.Fatal(err)
	}
	_, err := store.Judge(ctx, feedback.Judgement{Rater: rater, Picture: picture, Label: l})
	if err != nil {
		log.Fatal(err)
	}
}

// Pictures are given to a rater, judged, and come out as labelled samples.
func Example() {
	ctx := context.Background()
	store, remove := open(ctx)
	defer remove()
	if _, err := store.AddRater(ctx, "anna"); err != nil {
		log.Fatal(err)
	}
	for {
		next, err := store.Next(ctx, "anna", 1)
		if err != nil {
			log.Fatal(err)
		}
		if len(next) == 0 {
			break
		}
		label := dataset.Bad
		if strings.Contains(next[0].Sample.Prompt, "dog") {
			label = dataset.Good
		}
		judge(ctx, store, "anna", next[0].Sample.ID, label)
	}
	judge(ctx, store, "anna", "2", dataset.Skip) // on second thoughts
	for sample, err := range store.All(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(sample.Prompt, sample.Label, sample.Judgements)
	}
	// Output:
	// a dog good 1
	// a cat skip 0
}

// How judgements become a label is a value. Here one bad judgement is enough to reject a picture.
func ExampleStore_Labels() {
	ctx := context.Background()
	store, remove := open(ctx)
	defer remove()
	for rater, label := range map[string]dataset.Label{
		"anna": dataset.Good, "ben": dataset.Good, "cleo": dataset.Bad,
	} {
		judge(ctx, store, rater, "1", label)
	}
	veto := feedback.AggregatorFunc(
		func(_ context.Context, t feedback.Table) ([]feedback.Verdict, error) {
			verdicts := make([]feedback.Verdict, len(t.Pictures))
			for i := range verdicts {
				verdicts[i] = feedback.Verdict{Label: dataset.Good, Good: 1}
			}
			for _, o := range t.Opinions {
				if o.Label == dataset.Bad {
					verdicts[o.Picture] = feedback.Verdict{Label: dataset.Bad}
				}
			}
			return verdicts, nil
		})
	for _, by := range []feedback.Aggregator{feedback.Majority{}, veto} {
		samples, err := dataset.Collect(ctx, store.Labels(by))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(samples[0].Label, samples[0].Judgements)
	}
	// Output:
	// good 3
	// bad 3
}

// Which raters are to be trusted is seen from the judgements alone: the last one says good of
// everything.
func ExampleDawidSkene() {
	t := feedback.Table{Raters: []string{"anna", "ben", "cleo", "all good"}}
	for i, says := range []string{"ggbg", "bbbg", "bbbg", "gggg", "bbgg", "gggg", "bbbg", "bbbg"} {
		t.Pictures = append(t.Pictures, fmt.Sprint(i))
		for r, letter := range says {
			label := dataset.Bad
			if letter == 'g' {
				label = dataset.Good
			}
			t.Opinions = append(t.Opinions, feedback.Opinion{Picture: i, Rater: r, Label: label})
		}
	}
	fit, err := feedback.DawidSkene{Smoothing: 1}.Fit(context.Background(), t)
	if err != nil {
		log.Fatal(err)
	}
	for i, r := range fit.Raters {
		fmt.Printf("%s: right of %.0f %% of the good and %.0f %% of the bad\n", t.Raters[i],
			100*r.OfGood, 100*r.OfBad)
	}
	fmt.Printf("picture 4, on which they differ, is good by %.0f %%\n", 100*fit.Good[4])
	// Output:
	// anna: right of 76 % of the good and 83 % of the bad
	// ben: right of 76 % of the good and 83 % of the bad
	// cleo: right of 60 % of the good and 72 % of the bad
	// all good: right of 80 % of the good and 14 % of the bad
	// picture 4, on which they differ, is good by 10 %
}

// Labels that were made with Label Studio.
func ExampleReadLabelStudio() {
	ctx := context.Background()
	store, remove := open(ctx)
	defer remove()
	file := strings.NewReader(`[{"id":1,"data":{"image":"dog.png","prompt":"a dog"},"annotations":[
		{"id":7,"completed_by":{"id":3,"email":"anna@example.com"},"lead_time":2.5,"result":[
			{"from_name":"quality","type":"choices","value":{"choices":["good"]}}]}]}]`)
	records := feedback.ReadLabelStudio(file, "project-1.json", feedback.Fields{})
	n, err := store.AddRecords(ctx, records, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, "judgement")
	for j, err := range store.Judgements(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(j.Picture, j.Label, j.Rater, j.Taken)
	}
	// Output:
	// 1 judgement
	// 1 good anna@example.com 2.5s
}
