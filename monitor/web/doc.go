// Package web is the frame of the monitor's pages: routes, layout, menu, parts, assets, live
// updates and the checks that keep strangers out. It knows nothing of tasks and mails; these
// are the business of the groups of pages, which the wiring hands to [New].
//
// A group registers pages and actions with a [Router]. A page has a function that loads its
// view, and a template that shows it. An action is the target of a plain form, and answers
// with a redirect (303). Everything works without JavaScript; htmx only saves the reader the
// reloading.
//
// # Templates
//
// All templates are parsed and escaped when the site is made, and New fails if one is wrong.
// The name of each template begins with the name of its group: "tasks.list". A page whose
// template has a companion with the suffix ".live" is pushed to its readers when it changes:
//
//	{{define "tasks.list"}}
//	{{template "part.head" .Head}}
//	<div {{live}}>{{template "tasks.list.live" .}}</div>
//	{{end}}
//
// The parts are templates that take a type of this package: part.head ([Head]), part.facets
// ([Facets]), part.search ([Search]), part.timeline ([Timeline]), part.empty ([Empty]),
// part.missing ([MissingError]), part.pager ([Pager]), part.confirm ([Confirm]), part.notice
// ([Notice]), part.copy ([Copy]), part.tiles ([]Tile), part.tile ([Tile]), part.chart ([Chart])
// and part.chip ([Chip]). Tables are written by hand:
//
//	<div class="table"><table class="stack" data-rows>
//	<thead><tr><th scope="col">Task</th><th scope="col" class="num">Tries</th></tr></thead>
//	<tbody>{{range .Rows}}<tr>
//	<td data-label="Task"><a class="row" href="/tasks/{{.ID}}">{{.Name}}</a></td>
//	<td data-label="Tries" class="num">{{num .Tries}}</td>
//	</tr>{{end}}</tbody></table></div>
//
// With class stack the rows become cards on a phone, with the labels of data-label. With
// data-rows the keys j, k and Enter go through the rows; Enter follows the link of class row,
// which also takes clicks on the whole row.
//
// Functions: see funcs.go. The classes of app.css are shown by the page of TestParts.
package web
