package chart

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template/parse"
)

// Branch is one way through a template.
type Branch struct {
	// File is the template's path in the chart.
	File string
	Line int
	// Missing says what does not happen when the branch is never taken.
	Missing string
}

func (b Branch) String() string { return fmt.Sprintf("%s:%d: %s", b.File, b.Line, b.Missing) }

// The functions that an instrumented template calls beside those of Helm.
const (
	coveredFunc = "covered"
	defaultFunc = "coveredDefault"
	ternaryFunc = "coveredTernary"
)

// instrumenter makes templates tell which branches they take: of if, with, range and define, and of the functions default and ternary.
type instrumenter struct {
	file, text string
	// values are the defaults of the chart that the template is of.
	values   map[string]any
	branches *[]Branch
}

// instrument returns the template, of a chart with these values, with calls of the functions above in it, each with the index in branches
// of what it stands for. What the template renders to stays the same.
func instrument(file, text string, values map[string]any, branches *[]Branch) (string, error) {
	tree := parse.New(file)
	tree.Mode = parse.SkipFuncCheck
	trees := map[string]*parse.Tree{}
	if _, err := tree.Parse(text, "", "", trees); err != nil {
		return "", err
	}
	in := instrumenter{file: file, text: text, values: values, branches: branches}
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(trees)) {
		if name == file {
			continue
		}
		root := trees[name].Root
		in.list(root)
		in.count(root, root.Position(), "%q is never included", name)
		fmt.Fprintf(&out, "{{define %q}}%s{{end}}", name, root)
	}
	if main := trees[file]; main != nil {
		in.list(main.Root)
		out.WriteString(main.Root.String())
	}
	return out.String(), nil
}

// add returns the number of a new branch.
func (in instrumenter) add(pos parse.Pos, missing string, args ...any) int {
	*in.branches = append(*in.branches, Branch{
		File: in.file, Line: 1 + strings.Count(in.text[:min(int(pos), len(in.text))], "\n"), Missing: fmt.Sprintf(missing, args...),
	})
	return len(*in.branches) - 1
}

// count has the list of nodes, first of all, tell that it is reached.
func (in instrumenter) count(list *parse.ListNode, pos parse.Pos, missing string, args ...any) {
	call := &parse.TextNode{NodeType: parse.NodeText, Text: fmt.Appendf(nil, "{{%s %d}}", coveredFunc, in.add(pos, missing, args...))}
	list.Nodes = slices.Insert(list.Nodes, 0, parse.Node(call))
}

func (in instrumenter) list(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.ActionNode:
			in.pipe(n.Pipe)
		case *parse.TemplateNode:
			in.pipe(n.Pipe)
		case *parse.IfNode:
			in.branch(&n.BranchNode, "if %s is never true", "if %s is never false")
		case *parse.WithNode:
			in.branch(&n.BranchNode, "with %s is never set", "with %s is never empty")
		case *parse.RangeNode:
			in.branch(&n.BranchNode, "range %s has never an element", "range %s is never empty")
		}
	}
}

func (in instrumenter) branch(n *parse.BranchNode, never, always string) {
	condition := n.Pipe.String()
	in.pipe(n.Pipe)
	in.list(n.List)
	in.count(n.List, n.Position(), never, condition)
	switch {
	case n.ElseList == nil && n.NodeType == parse.NodeRange:
		// What is ranged over is often never empty; one that may be has an else, or a condition around it.
		return
	case n.ElseList == nil && n.NodeType == parse.NodeWith && in.neverEmpty(n.Pipe):
		return
	case n.ElseList == nil:
		n.ElseList = &parse.ListNode{NodeType: parse.NodeList}
	case len(n.ElseList.Nodes) == 1 && n.ElseList.Nodes[0].Type() == n.NodeType:
		// An "else if" has branches of its own.
		in.list(n.ElseList)
		return
	}
	in.list(n.ElseList)
	in.count(n.ElseList, n.Position(), always, condition)
}

// neverEmpty tells whether a pipeline is a value that by default is an object with something in it. Helm merges what is given into such
// a value, so that a "with" of it only shortens what follows.
func (in instrumenter) neverEmpty(pipe *parse.PipeNode) bool {
	path, ok := strings.CutPrefix(strings.TrimPrefix(pipe.String(), "$"), ".Values.")
	if !ok {
		return false
	}
	var at any = in.values
	for _, key := range strings.Split(path, ".") {
		object, _ := at.(map[string]any)
		at = object[key]
	}
	object, _ := at.(map[string]any)
	return len(object) > 0
}

func (in instrumenter) pipe(pipe *parse.PipeNode) {
	if pipe == nil {
		return
	}
	written := pipe.String()
	for _, command := range pipe.Cmds {
		for _, arg := range command.Args {
			switch a := arg.(type) {
			case *parse.PipeNode:
				in.pipe(a)
			case *parse.ChainNode:
				if inner, ok := a.Node.(*parse.PipeNode); ok {
					in.pipe(inner)
				}
			}
		}
		name, ok := command.Args[0].(*parse.IdentifierNode)
		if !ok {
			continue
		}
		instead := map[string]string{"default": defaultFunc, "ternary": ternaryFunc}[name.Ident]
		if instead == "" {
			continue
		}
		first := in.add(command.Position(), map[string]string{"default": "%s is never needed", "ternary": "%s is never true"}[name.Ident], written)
		in.add(command.Position(), map[string]string{"default": "%s is always needed", "ternary": "%s is never false"}[name.Ident], written)
		name.Ident = fmt.Sprintf("%s %d", instead, first)
	}
}
