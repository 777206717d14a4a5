// Command label serves the pages on which people label pictures good or bad.
//
//	go run ./examples/label -images DIR
//	go run ./examples/label -samples FILE.jsonl -invite anna,ben -raters 2
//	go run ./examples/label -prompts FILE -model DIR -out DIR
//
// The first two label pictures that are there. The third labels them while they are painted. What
// people say is kept in an SQLite database beside the pictures (-db). examples/reward learns of it.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune/command"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward/label"
)

// options are the flags.
type options struct {
	pipeline.Request
	images, samples, model, prompts, out, db string
	gold, categories, clip, invite           string
	raters, together                         int
	anew, train                              bool
	server                                   command.Server
	machine                                  command.Machine
}

func parse(ctx context.Context, args []string) (o options, err error) {
	f := flag.NewFlagSet("label", flag.ContinueOnError)
	f.StringVar(&o.images, "images", "", "`folder` of pictures with their prompts: samples.jsonl, "+
		"metadata.jsonl or .csv, or a .txt beside each; go doc ./dataset Folder has the rules")
	f.StringVar(&o.samples, "samples", "", "JSONL `file` of pictures, as generate writes it")
	f.StringVar(&o.prompts, "prompts", "", "`file` of prompts to paint meanwhile, one a line")
	f.StringVar(&o.model, "model", "", "`folder`, checkpoint file or name of the model that "+
		"paints; without it the embedded miniature")
	f.StringVar(&o.out, "out", filepath.Join("runs", "label"), "`folder` for what is painted")
	n := f.Int("n", 4, "pictures of each prompt to paint")
	o.Request = pipeline.Request{Steps: 25, Seed: 1, Guidance: 7.5}
	o.Flags(f)
	f.Lookup("guidance").Usage += "; 2 for the miniature"
	f.StringVar(&o.db, "db", "", "`file` of the database, in the pictures' folder or above it "+
		"(default labels.db in that folder)")
	f.IntVar(&o.raters, "raters", 1, "how many people are to judge each picture")
	f.IntVar(&o.together, "together", 1, "pictures of a prompt to show at once; the paper has 3")
	f.StringVar(&o.invite, "invite", "", "`names` of raters, with commas: each gets a link, once; "+
		"without it, where no other machine reaches the page, whoever gives a name is let in")
	f.BoolVar(&o.anew, "new-links", false, "give raters of -invite other links; earlier ones end")
	f.StringVar(&o.gold, "gold", "", "JSONL `file` of labelled samples to ask everybody, too")
	f.StringVar(&o.categories, "categories", "", "`file` of lines: category, tab, prompt")
	f.BoolVar(&o.train, "train", false, "let the overview learn a reward of the labels so far")
	f.StringVar(&o.clip, "clip", "", "`folder` or ORG/NAME of -train's CLIP, or the miniature's")
	o.server.Flags(f)
	o.machine.Flags(f)
	o.machine.PlainFlag(f)
	if err := o.machine.Parse(f, args); err != nil {
		return o, err
	}
	if o.model == "" && !report.Given(f)["guidance"] {
		o.Guidance = 2
	}
	o.machine.Winograd = o.machine.Winograd && (o.model != "" || report.Given(f)["plain"])
	sources := slices.DeleteFunc([]string{o.images, o.samples, o.prompts},
		func(s string) bool { return s == "" })
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case len(sources) != 1:
		return o, errors.New("give one of -images, -samples and -prompts: where pictures are from")
	case o.model != "" && o.prompts == "":
		return o, errors.New("-model paints -prompts; there are none")
	case o.clip != "" && !o.train:
		return o, errors.New("-clip is what -train learns on; it is not given")
	case o.anew && o.invite == "":
		return o, errors.New("-new-links are for the raters of -invite; there are none")
	}
	err = report.Check(f, report.AtLeast(1, "n", "raters", "together"))
	if o.PerPrompt = *n; err == nil && o.prompts != "" {
		if o.Prompts, err = dataset.ReadPrompts(ctx, o.prompts); err != nil {
			return o, fmt.Errorf("-prompts: %w", err)
		}
		err = o.CheckFlags()
	}
	o.db = cmp.Or(o.db, filepath.Join(o.folder(), "labels.db"))
	return o, err
}

// folder is where the pictures are.
func (o *options) folder() string {
	switch {
	case o.images != "":
		return o.images
	case o.samples != "":
		return filepath.Dir(o.samples)
	}
	return o.out
}

func main() {
	var o options
	report.Main("label", func(ctx context.Context) (err error) {
		if o, err = parse(ctx, os.Args[1:]); err != nil {
			return err
		}
		return errors.Join(run(ctx, o), o.machine.Close())
	}, func() string { return report.Left("what was said", o.db) })
}

func run(ctx context.Context, o options) (err error) {
	if o.prompts != "" {
		if err := os.MkdirAll(o.out, 0o777); err != nil {
			return fmt.Errorf("-out: %w", err)
		}
	}
	store, err := feedback.Open(ctx, feedback.Config{Path: o.db})
	if err != nil {
		return fmt.Errorf("-db: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	set := cmp.Or(store.SetRaters(ctx, "", o.raters), store.SetTogether(ctx, o.together))
	if err = cmp.Or(set, o.add(ctx, store)); err == nil {
		err = o.serve(ctx, store)
	}
	return err
}

// add puts pictures that are there into the store, and says of which the label is known.
func (o *options) add(ctx context.Context, store *feedback.Store) error {
	pictures := command.Folder(o.images, report.Stderr().Printf)
	switch {
	case o.samples != "":
		pictures = dataset.File{Path: o.samples}
	case o.prompts != "":
		pictures = dataset.FromSlice(nil) // they are added as they are painted
	}
	bar := report.Stderr().Stage("pictures", 0)
	_, err := store.Add(ctx, dataset.Watched(pictures, bar.Add), o.folder())
	bar.End()
	if err == nil && o.gold != "" {
		if _, err = store.AddGold(ctx, dataset.File{Path: o.gold}); err != nil {
			err = fmt.Errorf("-gold: %w", err)
		}
	}
	return err
}

// serve shows the pages, and paints meanwhile if there is something to paint.
func (o *options) serve(ctx context.Context, store *feedback.Store) (err error) {
	listener, err := o.server.Listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	config := label.Config{
		Store: store, Owner: rand.Text(), Open: o.server.Local() && o.invite == "",
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	if o.categories != "" {
		if config.Category, err = dataset.ReadCategories(o.categories); err != nil {
			return fmt.Errorf("-categories: %w", err)
		}
	}
	if o.train {
		encoder, err := tiny.LoadCLIP(o.clip)
		if err != nil {
			return fmt.Errorf("-clip: %w", err)
		}
		defer encoder.Close()
		encoder.Machine = o.machine.Config
		folder := filepath.Dir(o.db)
		cache, err := clip.OpenCache(encoder, filepath.Join(folder, "features.safetensors"))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, cache.Save()) }()
		config.Train = label.Learner{
			CLIP: cache, Pictures: store.Pictures(), Folder: folder, Seed: o.Seed,
		}.Train
	}
	pages, err := label.New(config)
	if err != nil {
		return err
	}
	defer pages.Close()
	base, print := o.server.URL(listener), report.Stdout()
	fmt.Fprintf(print, "overview  %s\n", label.Link(base, config.Owner))
	if config.Open {
		fmt.Fprintf(print, "label     %s\n", base)
	}
	for _, name := range strings.FieldsFunc(o.invite, func(r rune) bool { return r == ',' }) {
		name = strings.TrimSpace(name)
		link, err := label.Invite(ctx, store, base, name, o.anew)
		if err != nil {
			return fmt.Errorf("-invite: %w", err)
		}
		fmt.Fprintf(print, "%-9s %s\n", name, cmp.Or(link, "has a link; -new-links makes another"))
	}
	fmt.Fprintln(print, "Ctrl-C ends it.")
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return o.server.Serve(ctx, listener, pages) })
	if o.prompts != "" {
		group.Go(func() error { return o.paint(ctx, store) })
	}
	err = group.Wait()
	fmt.Fprintf(print, "\nWhat was said is in %s.\n", o.db)
	return err
}

// paint makes the pictures that are not there yet.
func (o *options) paint(ctx context.Context, store *feedback.Store) (err error) {
	var model *pipeline.Pipeline
	if o.model != "" {
		model, err = pipeline.Load(o.model)
	} else {
		model, err = tiny.Load()
	}
	if err != nil {
		return fmt.Errorf("-model: %w", err)
	}
	model.Machine = o.machine.Config
	r, err := model.SettleFlags(o.Request)
	if err == nil {
		r, err = model.SettlePrompts(ctx, r, report.Stderr().Printf)
	}
	if err != nil {
		return err
	}
	return label.Paint(ctx, store, o.out, func(there int) dataset.Dataset {
		r.Skip = there
		return model.Generate(r.Watched(report.Stderr().Stage("paint", r.Parts()).Add))
	})
}
