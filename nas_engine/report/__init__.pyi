"""Names of the package, one per line."""

from nas_engine.report import run_table as run_table
from nas_engine.report import verification_table as verification_table
from nas_engine.report.allocations import AllocationReport as AllocationReport
from nas_engine.report.allocations import AllocationSetting as AllocationSetting
from nas_engine.report.layer_errors import LayerErrors as LayerErrors
from nas_engine.report.layer_errors import read_layer_errors as read_layer_errors
from nas_engine.report.network import NetworkReport as NetworkReport
from nas_engine.report.network import report_network as report_network
from nas_engine.report.run_plots import draw_plots as draw_plots
from nas_engine.report.run_plots import plots_are_current as plots_are_current
from nas_engine.report.search_record import SearchRecord as SearchRecord
from nas_engine.report.search_record import load_configs as load_configs
from nas_engine.report.search_record import load_runs as load_runs
from nas_engine.report.search_record import report_member as report_member
from nas_engine.report.tables import budget_text as budget_text
from nas_engine.report.tables import depth_remark as depth_remark
from nas_engine.report.tables import network_table as network_table
from nas_engine.report.tables import winners_table as winners_table
from nas_engine.report.write import write_report as write_report
