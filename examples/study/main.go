// Command study asks people which of two models makes the better pictures, blind, as Lee et al.
// 2023 evaluate theirs.
//
//	go run ./examples/study -a DIR -b DIR
//	go run ./examples/study -a DIR -b DIR -invite anna,ben,cem -raters 3
//	go run ./examples/study -a DIR -b DIR -report DIR
//
// Each folder has the pictures of a model, as generate writes them, of the same prompts. Raters see
// sets of four of each side by side and say which follows the prompt better, and, apart from that,
// which looks better. What they say is kept in an SQLite database (-db), each answer before the
// page goes on. -report writes what came of it so far, report.html and report.json, and ends.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/finetune/command"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward/study"
)

// options are the flags.
type options struct {
	a, b, db, study    string
	set, raters        int
	invite             string
	anew               bool
	unseen, categories string
	report             string
	seed               uint64
	server             command.Server
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("study", flag.ContinueOnError)
	f.StringVar(&o.a, "a", "", "`folder` of the pictures of one model, usually the tuned one, "+
		"with their prompts, as dataset.Folder has it: what generate writes, or a .txt beside each")
	f.StringVar(&o.b, "b", "", "`folder` of the other's, of the same prompts")
	f.StringVar(&o.db, "db", "", "`file` of the database; both folders have to be inside its "+
		"folder (default study.db in the folder that both are in)")
	f.StringVar(&o.study, "study", "study", "`name` of the study: a database can have many")
	f.IntVar(&o.set, "set", 4, "pictures of each model to show together")
	f.IntVar(&o.raters, "raters", 9, "how many people are to answer each question of a pair")
	f.StringVar(&o.invite, "invite", "", "`names` of raters, with commas: each gets a link, once; "+
		"without it, where no other machine reaches the page, whoever gives a name is let in")
	f.BoolVar(&o.anew, "new-links", false, "give raters of -invite other links; earlier ones end")
	f.StringVar(&o.unseen, "unseen", "", "`file` of the prompts that no model was tuned on, one a "+
		"line, to be reported apart")
	f.StringVar(&o.categories, "categories", "", "`file` of prompts with their categories, to be "+
		"reported apart: in each line the category, a tab and the prompt; without it, those of "+
		"the miniature's language")
	f.StringVar(&o.report, "report", "", "write report.html and report.json of the answers so far "+
		"to this `folder`, and end")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the bootstrap")
	o.server.Flags(f)
	if err := f.Parse(args); err != nil {
		return o, err
	}
	err = cmp.Or(report.Required(f, "a", "b"), report.Check(f, report.AtLeast(1, "set", "raters")))
	if err == nil && o.db == "" {
		o.db, err = beside(o.a, o.b)
	}
	return o, err
}

// beside is a database in the folder that two folders are in.
func beside(a, b string) (string, error) {
	a, errA := filepath.Abs(a)
	b, errB := filepath.Abs(b)
	dir := filepath.Dir(a)
	for below, err := filepath.Rel(dir, b); dir != filepath.Dir(dir) &&
		(err != nil || !filepath.IsLocal(below)); below, err = filepath.Rel(dir, b) {
		dir = filepath.Dir(dir)
	}
	return filepath.Join(dir, "study.db"), errors.Join(errA, errB)
}

func main() {
	var o options
	report.Main("study", func(ctx context.Context) (err error) {
		if o, err = parse(os.Args[1:]); err != nil {
			return err
		}
		return run(ctx, o, report.Stdout())
	}, func() string { return report.Left("what was said", o.db) })
}

func run(ctx context.Context, o options, w io.Writer) (err error) {
	analysis, err := o.analysis(ctx)
	if err != nil {
		return err
	}
	if _, err := os.Stat(o.db); o.report != "" && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("-report: there is no database %s yet", o.db)
	}
	store, err := feedback.Open(ctx, feedback.Config{Path: o.db})
	if err != nil {
		return fmt.Errorf("-db: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if o.report != "" {
		return o.write(ctx, store, analysis, w)
	}
	made, err := study.Make(ctx, store, study.Design{
		Study: o.study, A: o.side(o.a), B: o.side(o.b), Set: o.set, Raters: o.raters,
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%d pairs of sets of %d pictures, of %d prompts; %d answers are wanted.\n",
		made.Pairs, o.set, made.Prompts, 2*made.Pairs*o.raters)
	if n := len(made.Without); n > 0 {
		fmt.Fprintf(w, "%d prompts have no whole set on both sides and are left out, such as %q.\n",
			n, made.Without[0])
	}
	return o.serve(ctx, store, analysis, w)
}

// side is a model by its folder: it is called by the folder's path from the database's.
func (o *options) side(folder string) study.Side {
	name := filepath.Base(folder)
	base, _ := filepath.Abs(filepath.Dir(o.db))
	absolute, _ := filepath.Abs(folder)
	if path, err := filepath.Rel(base, absolute); err == nil && path != "." {
		name = filepath.ToSlash(path)
	}
	pictures := command.Folder(folder, report.Stderr().Printf)
	return study.Side{Model: name, Pictures: pictures, Folder: folder}
}

// analysis says which prompts are reported apart.
func (o *options) analysis(ctx context.Context) (a study.Analysis, err error) {
	a = study.Analysis{Study: o.study, Seed: o.seed, Category: func(prompt string) string {
		return shapes.Grammar().Category(dataset.Sample{Prompt: prompt})
	}}
	if o.categories != "" {
		if a.Category, err = dataset.ReadCategories(o.categories); err != nil {
			return a, fmt.Errorf("-categories: %w", err)
		}
	}
	if o.unseen != "" {
		unseen, err := dataset.ReadPrompts(ctx, o.unseen)
		if err != nil {
			return a, fmt.Errorf("-unseen: %w", err)
		}
		a.Unseen = func(prompt string) bool { return slices.Contains(unseen, prompt) }
	}
	return a, nil
}

// write leaves the report.
func (o *options) write(
	ctx context.Context, store *feedback.Store, a study.Analysis, w io.Writer,
) error {
	result, err := study.Analyse(ctx, store, a)
	if err != nil {
		return err
	}
	page, err := result.Page(ctx, store)
	if err != nil {
		return err
	}
	page.Footer = report.Command("go run ./examples/study", os.Args[1:]...)
	folder, err := report.NewFolder(o.report)
	if err != nil {
		return fmt.Errorf("-report: %w", err)
	}
	fmt.Fprintln(w, result.Verdict())
	return folder.Conclude(w, result, page, result.Tables()...)
}

// serve shows the pages.
func (o *options) serve(
	ctx context.Context, store *feedback.Store, a study.Analysis, w io.Writer,
) error {
	listener, err := o.server.Listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	config := study.Config{
		Store: store, Study: o.study, Owner: rand.Text(), Analysis: a,
		Open: o.server.Local() && o.invite == "",
		Log:  slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	pages, err := study.New(ctx, config)
	if err != nil {
		return err
	}
	defer pages.Close()
	base := o.server.URL(listener)
	fmt.Fprintf(w, "overview  %s\n", study.Link(base, config.Owner))
	if config.Open {
		fmt.Fprintf(w, "study     %s\n", base)
	}
	for _, name := range strings.FieldsFunc(o.invite, func(r rune) bool { return r == ',' }) {
		name = strings.TrimSpace(name)
		link, err := study.Invite(ctx, store, base, name, o.anew)
		if err != nil {
			return fmt.Errorf("-invite: %w", err)
		}
		fmt.Fprintf(w, "%-9s %s\n", name, cmp.Or(link, "has a link; -new-links makes another"))
	}
	fmt.Fprintln(w, "Ctrl-C ends it.")
	if err := o.server.Serve(ctx, listener, pages); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nWhat was said is in %s. -report DIR says what came of it.\n", o.db)
	return nil
}
